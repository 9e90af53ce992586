"""A model of transformers as an answerer: any that takes pictures and text, asked by its own chat template."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jinja2
import torch
from PIL import Image

import skyeye.models  # noqa: F401  makes torchvision importable before transformers asks for it
from skyeye.data.images.load import load_image
from skyeye.data.images.smart_resize import SmartResize
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.generation.answerers.base import Reply, Words, greedy_words
from skyeye.generation.limit import room_for_answer, tokens_read

_READERS = 4  # threads that read and decode image files
_TRIED = 1  # questions of the first batch: the longest one alone shows at once what the model cannot do


class LocalAnswerer:
    """A model of transformers in a folder of this machine.

    Args:
        model, processor: as :func:`~skyeye.generation.answerers.local_loading.load_local` gives them.
        words: what is asked of a record.
        batch_size: questions decoded together; changes speed, and in half precision roundings.
    """

    def __init__(self, model: Any, processor: Any, words: Words, *, batch_size: int = 32):
        self.model, self.processor, self.words, self.batch_size = model, processor, words, batch_size
        self.where = str(model.name_or_path)
        self._decoding = greedy(self.model.generation_config)
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._decoding.pad_token_id = tokenizer.pad_token_id
        ends = self._decoding.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [] if ends is None else [ends])
        self._unsaid = {*self._ends, tokenizer.pad_token_id, tokenizer.bos_token_id}

    @property
    def about(self) -> dict[str, Any]:
        return {
            "parameters": self.model.num_parameters(),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.model.device),
            "model_type": self.model.config.model_type,
        }

    def decoding(self, max_new_tokens: int) -> str:
        penalty = self._decoding.repetition_penalty
        own = "" if penalty in (None, 1.0) else f"; the model's own repetition penalty of {penalty:g}"
        return greedy_words(max_new_tokens) + own

    def answers(self, records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Reply]]:
        texts = [self.words(record) for record in records]
        with ThreadPoolExecutor(_READERS) as readers:
            for batch in batches(records, texts, self.batch_size):
                pictures = [list(readers.map(load_image, records[i].images)) for i in batch]
                asked = [self._prompt(records[i], texts[i]) for i in batch]
                yield from zip(batch, self._ask(records[batch[0]], asked, pictures, max_new_tokens), strict=True)

    def _prompt(self, record: Record, text: str) -> str:
        """A question as the chat template of the model writes it."""
        system, content = record.turns[0].system, [{"type": "image"}] * len(record.images)
        messages = [{"role": "user", "content": [*content, {"type": "text", "text": text}]}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        try:
            written = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except (jinja2.TemplateError, TypeError, KeyError, ValueError) as error:
            remedy = "its template may know no system, or no images"
            what = f"the chat template cannot write this question: {error}"
            raise SkyEyeError(what, where=f"{self.where}, record {record.id}", remedy=remedy) from error
        return str(written)

    def _ask(
        self, first: Record, prompts: Sequence[str], pictures: Sequence[list[Image.Image]], max_new_tokens: int
    ) -> list[Reply]:
        inputs = self._inputs(first, prompts, pictures)
        width = inputs["input_ids"].shape[1]
        reads, longest = tokens_read(self.model), inputs["input_ids"][0]
        decoding = copy.copy(self._decoding)
        decoding.max_new_tokens = room_for_answer(reads, longest, max_new_tokens, f"record {first.id}")
        try:
            with torch.inference_mode():
                written = self.model.generate(**inputs, generation_config=decoding)
        except torch.OutOfMemoryError as error:
            what = f"{len(prompts)} questions at once do not fit the memory of {self.model.device}"
            raise SkyEyeError(what, where=self.where, remedy="--batch-size, or a smaller --dtype") from error
        return [self._reply(row) for row in written[:, width:].tolist()]

    def _inputs(self, first: Record, prompts: Sequence[str], pictures: Sequence[list[Image.Image]]) -> Any:
        begin = self.processor.tokenizer.bos_token
        shown: dict[str, Any] = {"images": list(pictures)} if pictures[0] else {}
        try:
            inputs = self.processor(
                text=list(prompts),
                padding=True,
                return_tensors="pt",
                add_special_tokens=begin is None or not prompts[0].startswith(begin),
                **shown,
            )
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            what = f"the processor of the model refuses the question: {_first_line(error)}"
            raise SkyEyeError(what, where=f"{self.where}, record {first.id}") from error
        return inputs.to(self.model.device, self.model.dtype)

    def _reply(self, row: list[int]) -> Reply:
        end = next((place for place, token in enumerate(row) if token in self._ends), None)
        said = [token for token in row[:end] if token not in self._unsaid]
        # other special tokens stay: some families mark boxes with them
        return Reply(self.processor.tokenizer.decode(said).strip(), cut=end is None)


def resize_rule(processor: Any) -> SmartResize | None:
    """How a model brings images to the size that it reads, where that follows Qwen's rule."""
    images: Any = getattr(processor, "image_processor", None)
    if not type(images).__name__.startswith("Qwen2VLImageProcessor"):
        return None
    size = dict(images.size)
    return SmartResize(images.patch_size * images.merge_size, size["shortest_edge"], size["longest_edge"])


def greedy(config: Any) -> Any:
    """The generation settings of a model without chance; a penalty for repetition that it asks for stays."""
    config = copy.deepcopy(config)
    config.do_sample, config.num_beams, config.max_length = False, 1, None
    config.temperature = config.top_p = config.top_k = None
    return config


def batches(records: Sequence[Record], texts: Sequence[str], size: int) -> Iterator[list[int]]:
    """Indices of records with equally many images, the longest questions first, at most ``size`` at a time.

    The very first batch is one question: what a model cannot do at all shows before anything large is computed.
    """
    counts = sorted({len(record.images) for record in records}, reverse=True)
    tried = _TRIED
    for count in counts:
        places = [i for i, record in enumerate(records) if len(record.images) == count]
        places.sort(key=lambda i: -len(texts[i]))
        while places:
            yield places[: min(size, tried)]
            places, tried = places[min(size, tried) :], size


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
