"""Pictures and questions in, tensors out; ids in, answers out. In Hugging Face shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from skyeye.config.schema import ModelConfig, PromptConfig, QFormerProjectorConfig, VisionConfig
from skyeye.data.hub import local_path
from skyeye.data.images.load import load_image, to_rgb
from skyeye.data.images.square import Resize
from skyeye.data.questions import QuestionEncoder
from skyeye.data.record import Turn
from skyeye.data.sequence import Row, SequenceBuilder, collate_prompts
from skyeye.errors import SkyEyeError
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.messages import check_system, read_messages
from skyeye.models.retrieval import caption_rows
from skyeye.models.tokenizer import box_token_ids, decode, load_tokenizer
from skyeye.models.vision import PixelTransform

#: A picture, or the file of one.
Picture = Image.Image | str | Path
#: A question, or a chat: ``[{"role": "user", "content": ...}, {"role": "assistant", ...}, {"role": "user", ...}]``.
Text = str | Sequence[dict[str, str]]


class SkyEyeProcessor(ProcessorMixin):
    """Tokenizer, pixel transform and prompt format of one model.

    Args:
        tokenizer: see :mod:`skyeye.models.tokenizer`.
        tokens_per_image: image tokens that the model makes of one image.
        image_size, image_mean, image_std, image_resize: see :func:`skyeye.data.images.load.to_pixels`; for several
            towers lists of them.
        question_vocabulary, longest_question: of a projector that reads the question, see
            :class:`skyeye.data.questions.QuestionEncoder`; None: the model's does not.
        longest_caption: of a model that compares captions with pictures, see
            :class:`skyeye.config.schema.RetrievalConfig`; None: the model does not.
        prompt: fields of :class:`skyeye.config.schema.PromptConfig`; what is missing is the reference's.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        tokens_per_image: int = 256,
        image_size: int | Sequence[int] = VisionConfig.image_size,
        image_mean: Sequence[float] | Sequence[Sequence[float]] = VisionConfig.mean,
        image_std: Sequence[float] | Sequence[Sequence[float]] = VisionConfig.std,
        prompt: dict[str, Any] | None = None,
        chat_template: str | None = None,
        image_resize: Resize | Sequence[Resize] = "stretch",
        question_vocabulary: Sequence[str] | None = None,
        longest_question: int = 160,
        longest_caption: int | None = None,
    ):
        self.tokens_per_image = tokens_per_image
        self.image_size, self.image_mean, self.image_std = image_size, tuple(image_mean), tuple(image_std)
        self.image_resize = image_resize
        self.question_vocabulary, self.longest_question = question_vocabulary, longest_question
        self.longest_caption = longest_caption
        self.prompt = asdict(PromptConfig(**(prompt or {})))
        super().__init__(tokenizer, chat_template=chat_template)

    @classmethod
    def from_config(
        cls,
        model: ModelConfig,
        tokenizer: PreTrainedTokenizerBase,
    ) -> SkyEyeProcessor:
        """The processor of a recipe's model."""
        transform = PixelTransform.of(model.vision)
        return cls(
            tokenizer,
            SkyEyeConfig.of(model).tokens_per_image,
            transform.size,
            transform.mean,
            transform.std,
            prompt=asdict(model.prompt),
            image_resize=transform.resize,
            longest_caption=None if model.retrieval is None else model.retrieval.longest_caption,
            **_question_words(model),
        )

    def __call__(
        self,
        images: Picture | Sequence[Picture | Sequence[Picture] | None] | None = None,
        text: Text | Sequence[Text] = "",
        return_tensors: str = "pt",
        **usual: Any,
    ) -> BatchFeature:
        """Prompts for ``generate``.

        Args:
            images: for one text, its picture or pictures; for a list of texts, a list with the picture, the pictures
                or None for each. None: no pictures at all.
            text: a question or a chat that ends with one; or a list of them.
            usual: what pipelines give every processor (``padding``), whose answer is always yes here.

        Returns:
            ``input_ids`` (B, T) padded on the left, with -1 at image tokens; ``attention_mask`` (B, T); with pictures
            also ``pixel_values`` float32 (pictures, 3, S, S), in order of appearance; for several towers
            (pictures, values), see :mod:`skyeye.models.vision.pixels`.

        Raises:
            SkyEyeError: an image cannot be read.
            ValueError: the numbers of texts and of entries in ``images`` differ, or a chat does not alternate.
        """
        if _is_one(text):
            text, images = [text], [images]
        elif images is None:
            images = [None] * len(text)
        if isinstance(images, (Image.Image, str, Path)) or len(images) != len(text):
            raise ValueError(f"{len(text)} texts need a list of as many pictures (or lists of pictures, or None)")
        shown = [_as_list(entry) for entry in images]
        asked = []
        for entry in text:
            history, question = _chat(entry)
            asked.append([*history, Turn(question, "")])
        return self._batch(shown, asked, return_tensors)

    def apply_chat_template(
        self,
        conversation: Sequence[dict[str, Any]] | Sequence[Sequence[dict[str, Any]]],
        *,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: str = "pt",
        **usual: Any,
    ) -> str | list[str] | BatchFeature | torch.Tensor:
        """Chats in transformers' form, in the words of the model's prompt style.

        Args:
            conversation: messages (:func:`~skyeye.models.messages.read_messages`) that end with a question, or a list
                of such chats.
            tokenize: False gives the text, ``<ImageHere>`` for each image.
            return_dict: with ``tokenize``, everything for ``generate``; else the ids alone.
            usual: what else transformers gives: the prompt always asks for an answer, and is always padded on the left.

        Raises:
            SkyEyeError: a chat that cannot be asked; an image cannot be read.
        """
        one = not conversation or isinstance(conversation[0], dict)
        chats = [read_messages(chat) for chat in ([conversation] if one else conversation)]
        for _, turns in chats:
            check_system(turns, self.builder.style, self.prompt["style"])
        if not tokenize:
            written = [self.builder.written(len(images), turns) for images, turns in chats]
            return written[0] if one else written
        batch = self._batch([images for images, _ in chats], [turns for _, turns in chats], return_tensors)
        return batch if return_dict else batch["input_ids"]

    def post_process_image_text_to_text(self, generated_outputs: torch.Tensor, **usual: Any) -> list[str]:
        """The answers in generated ids, as :meth:`decode` reads them: what pipelines call."""
        return self.batch_decode(generated_outputs)

    def _batch(
        self, shown: Sequence[Sequence[Picture]], asked: Sequence[Sequence[Turn]], return_tensors: str
    ) -> BatchFeature:
        """Prompts for ``generate``; see :meth:`__call__`."""
        firsts = [turns[0] for turns in asked]
        prompts = [self.builder.prompt(len(pictures), turns) for pictures, turns in zip(shown, asked, strict=True)]
        batch = dict(collate_prompts(prompts, self.builder.pad_token_id))
        pixels = [self.pixels(picture) for pictures in shown for picture in pictures]
        if pixels:
            batch["pixel_values"] = torch.stack(pixels)
            questions = zip(map(len, shown), firsts, strict=True)
            if (question_ids := self.builder.question_ids(questions)) is not None:
                batch["question_ids"] = question_ids
        return BatchFeature(batch, tensor_type=return_tensors)

    @property
    def builder(self) -> SequenceBuilder:
        """The sequence builder with this processor's tokenizer and prompt format."""
        prompt = PromptConfig(**self.prompt)
        return SequenceBuilder(self.tokenizer, prompt, self.tokens_per_image, self.questions)

    @property
    def questions(self) -> QuestionEncoder | None:
        """What writes questions for a projector that reads them; None: the model's does not."""
        vocabulary = self.question_vocabulary
        return None if vocabulary is None else _question_encoder(tuple(vocabulary), self.longest_question)

    def caption_ids(self, texts: list[str]) -> torch.Tensor:
        """(N, T) ids of captions for ``embed_texts``: begin, caption, [RET].

        Raises:
            SkyEyeError: the model compares no captions.
        """
        if self.longest_caption is None:
            remedy = "train a recipe with model.retrieval"
            raise SkyEyeError("the model compares no pictures with captions", where="model.retrieval", remedy=remedy)
        tokenizer = self.tokenizer
        ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
        return caption_rows(ids, tokenizer.bos_token_id, self.builder.pad_token_id, self.longest_caption)

    @property
    def box_token_ids(self) -> list[int] | None:
        """Ids of the box numbers ``<0>`` .. ``<100>`` where each is one token."""
        return box_token_ids(self.tokenizer)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "pixel_values", "question_ids"]

    def pixels(self, picture: Picture) -> torch.Tensor:
        """Pixels float32 (3, S, S), for several towers (values,), of a picture or image file."""
        image = to_rgb(picture) if isinstance(picture, Image.Image) else load_image(picture)
        return PixelTransform(self.image_size, self.image_mean, self.image_std, self.image_resize)(image)

    def build_training_row(self, n_images: int, chat: Sequence[dict[str, str]]) -> Row:
        """Ids and labels of a chat that ends with an answer.

        Raises:
            ValueError: the chat does not alternate between user and assistant, or ends with a question.
            SkyEyeError: see :meth:`skyeye.data.sequence.SequenceBuilder.row`.
        """
        turns, question = _turns(chat)
        if question is not None:
            raise ValueError("a training chat ends with an answer")
        return self.builder.row(n_images, turns)

    def decode(self, token_ids: Iterable[int] | torch.Tensor) -> str:
        """The answer in generated ids: up to the end symbol, without special tokens and outer blanks."""
        return decode_answer(self.builder, token_ids)

    def batch_decode(self, sequences: Iterable[Iterable[int]] | torch.Tensor) -> list[str]:
        """:meth:`decode` for each row."""
        return [self.decode(row) for row in sequences]

    @classmethod
    def _load_tokenizer_from_pretrained(cls, name: str, path: str, **_: Any) -> PreTrainedTokenizerBase:
        return load_tokenizer(path)  # transformers' way gives other ids for some texts


def decode_answer(builder: SequenceBuilder, token_ids: Iterable[int] | torch.Tensor) -> str:
    """:meth:`SkyEyeProcessor.decode` with a builder that is there: to read an answer again at each of its tokens."""
    ids, ends = [int(i) for i in token_ids], set(builder.end_token_ids)
    ids = ids[: next((place for place, id in enumerate(ids) if id in ends), None)]
    text = decode(builder.tokenizer, [i for i in ids if i >= 0])
    for end in builder.style.ends():  # a model may also spell the symbols out in ordinary tokens
        text = text.split(end)[0]
    return text.replace(builder.tokenizer.bos_token or "<s>", "").strip()


@lru_cache(maxsize=2)
def _question_encoder(vocabulary: tuple[str, ...], longest: int) -> QuestionEncoder:
    return QuestionEncoder(vocabulary, longest)


def _question_words(model: ModelConfig) -> dict[str, Any]:
    """What the processor of a model holds of the vocabulary of its projector, where that reads the question.

    Raises:
        SkyEyeError: the recipe names none, or one that cannot be read.
    """
    projector = model.projector
    if not isinstance(projector, QFormerProjectorConfig):
        return {}
    path = local_path(projector.vocabulary) if projector.vocabulary else None
    if path is None:
        what = f"{projector.vocabulary or 'null'} is not on this machine: the projector reads questions by it"
        raise SkyEyeError(what, where="model.projector.vocabulary", remedy="give vocab.txt of bert-base-uncased")
    encoder = QuestionEncoder.from_file(path, projector.longest_question)
    return {"question_vocabulary": encoder.vocabulary, "longest_question": encoder.longest}


def _is_one(text: Text | Sequence[Text]) -> bool:
    return isinstance(text, str) or (len(text) > 0 and isinstance(text[0], dict))


def _as_list(entry: Picture | Sequence[Picture] | None) -> list[Picture]:
    if entry is None:
        return []
    return [entry] if isinstance(entry, (Image.Image, str, Path)) else list(entry)


def _chat(text: Text) -> tuple[list[Turn], str]:
    """Turns so far and the question that waits for an answer."""
    history, question = ([], text) if isinstance(text, str) else _turns(text)
    if question is None:
        raise ValueError("a chat to be answered ends with a question of the user")
    return history, question


def _turns(chat: Sequence[dict[str, str]]) -> tuple[list[Turn], str | None]:
    roles = [message["role"] for message in chat]
    if not chat or any(role != ("user", "assistant")[place % 2] for place, role in enumerate(roles)):
        raise ValueError(f"a chat alternates between user and assistant, beginning with user; this one goes {roles}")
    texts = [message["content"] for message in chat]
    turns = [Turn(question, answer) for question, answer in zip(texts[::2], texts[1::2], strict=False)]
    return turns, texts[-1] if len(texts) % 2 else None


AutoProcessor.register(SkyEyeConfig, SkyEyeProcessor)
