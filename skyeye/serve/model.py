"""A trained model to be asked from Python: ``skyeye.load``. Terminal, page, API and agents use the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyeye.data.geometry.boxes import Box
from skyeye.data.record import MARK, Mention, Turn
from skyeye.data.tasks import FREE, check_task
from skyeye.errors import SkyEyeError
from skyeye.generation.answer import open_to_answer
from skyeye.generation.certainty import certainty, told_tokens
from skyeye.generation.engine import answer_groups, stream_groups
from skyeye.generation.limit import room_for_answer, tokens_read
from skyeye.generation.requests import PromptGroup, SharedAnswer, Token
from skyeye.generation.sampling import GREEDY, Sampling
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.answer import Answer, make_answer
from skyeye.serve.api.said import Said
from skyeye.serve.opening import to_open
from skyeye.serve.pictures import EncodedPictures, Picture, Reduced, Shown, show_all
from skyeye.serve.ranking import Ranked, rank
from skyeye.serve.read_boxes import FoundBox, read_leniently
from skyeye.serve.streaming import AnswerStream

if TYPE_CHECKING:
    from skyeye.data.images.square import Resize
    from skyeye.serve.chat import Chat

MAX_NEW_TOKENS = 256
#: Questions that are decoded together.
ROWS = 32
#: Stands in a question where the regions are written; without it they stand at its end.
REGION_MARK = "<box>"
Region = tuple[float, float, float, float]
Pictures = Picture | Shown | Sequence[Picture | Shown] | None


def load(
    checkpoint: str | Path,
    *,
    base: str | Path | None = None,
    weights: str | Path | None = None,
    dtype: str = "auto",
    device: str | None = None,
    keep_adapters: bool = False,
    resize: Resize | None = None,
) -> Model:
    """Open a model to ask it.

    Args:
        checkpoint: folder written by training or export, file of the reference (``.pth``, with ``base``), folder of
            another project, downloaded name of the hub; or, with ``weights``, a name of ``skyeye models list``.
        base: recipe, or checkpoint folder, that has the frozen parts.
        weights: published files of the model of the list that ``checkpoint`` names.
        dtype: ``auto``, ``bf16``, ``fp16``, ``fp32``; ``int8`` and ``int4`` of the language model.
        device: ``cpu``, ``cuda`` ...; None: a GPU where there is one.
        keep_adapters: leave adapters beside their weights instead of adding them.
        resize: ``stretch``, ``pad`` or ``crop`` instead of what training did to make pictures square.

    Raises:
        SkyEyeError: it cannot be opened.
    """
    found, opening = to_open(
        Path(checkpoint).expanduser() if str(checkpoint).startswith("~") else checkpoint,
        weights=weights,
        base=base,
        dtype=dtype,
        device=device,
        keep_adapters=keep_adapters,
        resize=resize,
    )
    return Model(*open_to_answer(found, opening))


@dataclass(frozen=True)
class Request:
    """A question with what was said before.

    Attributes:
        pictures: they stand before the first turn.
        turns: so far, and the question, whose answer is empty.
    """

    pictures: tuple[Shown | Reduced, ...]
    turns: tuple[Turn, ...]


class Model:
    """A model and its processor, in evaluation mode, ready to be asked.

    Args:
        network, processor: from the same checkpoint.
        rows: questions that are decoded together; changes speed and memory only.
    """

    def __init__(self, network: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor, rows: int = ROWS):
        self.network, self.processor, self.rows = network.eval(), processor, rows
        self.builder = processor.builder
        self.pictures = EncodedPictures(network, processor)

    @property
    def limit(self) -> int | None:
        """The most tokens that the model reads, images included; None: it does not say."""
        return tokens_read(self.network)

    def ask(
        self,
        images: Pictures,
        question: str,
        *,
        task: str = FREE,
        region: Region | Sequence[Region] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Answer:
        """Answer one question.

        Args:
            images: a picture, several (their boxes are those of the first), or None; see
                :data:`~skyeye.serve.pictures.Picture`.
            question: it may open with a task's tag in the words of the model (``[refer] the white plane``).
            task: of :data:`~skyeye.data.tasks.TASKS`, whose tag is written before the question.
            region: x1, y1, x2, y2 in pixels of the first picture, or several: what the question is about. It is written
                where :data:`REGION_MARK` stands, else behind the question.
            max_new_tokens: longest answer.
            temperature, top_p, seed: see :class:`~skyeye.generation.sampling.Sampling`; 0: the likeliest token always.

        Raises:
            SkyEyeError: a picture cannot be read, the question is empty or longer than what the model reads, or the
                region lies outside the picture.
        """
        request = self.request(images, question, task=task, region=region)
        sampling = Sampling(temperature, top_p, seed, log_probabilities=True)
        return next(answer for _, answer in self.answers([request], max_new_tokens, sampling))

    def stream(
        self,
        images: Pictures,
        question: str,
        *,
        task: str = FREE,
        region: Region | Sequence[Region] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> AnswerStream:
        """As :meth:`ask`, piece by piece: ``for piece in stream: ...``, then ``stream.answer``."""
        request = self.request(images, question, task=task, region=region)
        sampling = Sampling(temperature, top_p, seed, log_probabilities=True)
        return AnswerStream(self.pieces(request, max_new_tokens, sampling))

    def ask_many(
        self,
        questions: Iterable[tuple[Pictures, str]],
        *,
        task: str = FREE,
        max_new_tokens: int = MAX_NEW_TOKENS,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> list[Answer]:
        """Answer many questions, (images, question) each, in shared batches; an image is encoded once.

        Raises:
            SkyEyeError: as :meth:`ask`; none is answered then.
        """
        requests = [self.request(images, question, task=task) for images, question in questions]
        sampling = Sampling(temperature, top_p, seed, log_probabilities=True)
        found = dict(self.answers(requests, max_new_tokens, sampling))
        return [found[number] for number in range(len(requests))]

    def chat(self, images: Pictures = None) -> Chat:
        """A conversation about a picture or several."""
        from skyeye.serve.chat import Chat

        return Chat(self, images)

    def rank(self, images: Pictures, question: str, candidates: Sequence[str], *, task: str = FREE) -> list[Ranked]:
        """The candidates as answers to a question, the likeliest first by their mean loss.

        Raises:
            SkyEyeError: as :meth:`ask`; there are no candidates, or one is empty.
        """
        request = self.request(images, question, task=task)
        features = self.pictures.tokens(request.pictures, request.turns[0])
        return rank(self.network, self.builder, request.turns, len(request.pictures), features, candidates, self.limit)

    def request(
        self,
        images: Pictures,
        question: str,
        *,
        task: str = FREE,
        region: Region | Sequence[Region] | None = None,
        before: Sequence[Turn] = (),
    ) -> Request:
        """A question, checked.

        Args:
            before: turns so far.

        Raises:
            SkyEyeError: as :meth:`ask`, but for its length.
        """
        check_task(task, "task")
        pictures = show_all(images)
        if MARK in question:
            question = question.replace(MARK, " ")
        mentions = () if region is None else _mentions(region, pictures)
        if not (question := question.strip()) and not (mentions or self.builder.style.tags.get(task)):
            raise SkyEyeError("the question is empty", remedy='ask something, e.g. "[caption] Describe the image."')
        if mentions:
            held = question.count(REGION_MARK)
            question = question.replace(REGION_MARK, MARK) if held == 1 else f"{question} {MARK}".strip()
        return Request(pictures, (*before, Turn(question, "", task, mentions)))

    def pieces(self, request: Request, max_new_tokens: int, sampling: Sampling = GREEDY) -> Iterator[str | Answer]:
        """The text of one answer as it comes, and the answer.

        Raises:
            SkyEyeError: the request is longer than what the model reads.
        """
        prompt = self.builder.prompt(len(request.pictures), request.turns)
        room = room_for_answer(self.limit, prompt, max_new_tokens, "the question")
        group = PromptGroup([prompt], self.pictures.tokens(request.pictures, request.turns[0]), [room], [sampling])
        said = Said(self.builder, ())
        for event in stream_groups(self.network, [group], rows=1, eos_token_id=self.builder.end_token_ids):
            if isinstance(event, Token):
                said.add(event.id, None)
            said.look(last=not isinstance(event, Token))
            if said.has_news:
                yield said.take()[0]
            if isinstance(event, SharedAnswer):
                yield self._answer(request, prompt, event)

    def answers(
        self, requests: Sequence[Request], max_new_tokens: int = MAX_NEW_TOKENS, sampling: Sampling = GREEDY
    ) -> Iterator[tuple[int, Answer]]:
        """(index, answer) of each request, in the order in which answers end.

        Args:
            sampling: where it asks for log-probabilities, boxes have their certainty.

        Raises:
            SkyEyeError: one is longer than what the model reads; before any is answered.
        """
        prompts = [self.builder.prompt(len(request.pictures), request.turns) for request in requests]
        rooms = [room_for_answer(self.limit, ids, max_new_tokens, "the question") for ids in prompts]
        alike: dict[object, list[int]] = {}
        for number, request in enumerate(requests):
            shown = tuple(picture.digest for picture in request.pictures)
            own = number if self.network.projector.reads_text else (shown, request.turns[0].system)
            alike.setdefault(own, []).append(number)
        groups = list(alike.values())
        asked = self._prompt_groups(requests, groups, prompts, rooms, sampling)
        for said in answer_groups(self.network, asked, rows=self.rows, eos_token_id=self.builder.end_token_ids):
            number = groups[said.group][said.prompt]
            yield number, self._answer(requests[number], prompts[number], said)

    def _prompt_groups(
        self,
        requests: Sequence[Request],
        groups: Sequence[Sequence[int]],
        prompts: Sequence[list[int]],
        rooms: Sequence[int],
        sampling: Sampling,
    ) -> Iterator[PromptGroup]:
        """Pictures are encoded for as many groups at a time as fill the rows, when these are needed."""
        for number, group in enumerate(groups):
            if number % self.rows == 0 and not self.network.projector.reads_text:
                following = groups[number : number + self.rows]
                self.pictures.encode([picture for first, *_ in following for picture in requests[first].pictures])
            first = requests[group[0]]
            features = self.pictures.tokens(first.pictures, first.turns[0])
            yield PromptGroup([prompts[n] for n in group], features, [rooms[n] for n in group], [sampling] * len(group))

    def _answer(self, request: Request, prompt: Sequence[int], said: SharedAnswer) -> Answer:
        first = request.pictures[0] if request.pictures else None
        image = None if first is None else first.image
        style, text = self.builder.style, self.processor.decode(said.ids)
        found = () if image is None else read_leniently(text, style, image.size)
        return make_answer(
            text,
            style,
            None if image is None else image.size,
            certainties=self._certainties(found, said),
            question=style.question(request.turns[-1]),
            image=image,
            place=None if first is None else first.place,
            prompt=self.builder.written(len(request.pictures), request.turns),
            prompt_tokens=len(prompt),
            tokens=len(said.ids),
            ended=bool(set(said.ids) & set(self.builder.end_token_ids)),
        )

    def _certainties(self, found: Sequence[FoundBox], said: SharedAnswer) -> list[float | None]:
        tokens = told_tokens(said.ids, said.log_probabilities, self.processor) if found else ()
        values = [certainty(one.span, tokens) for one in found]
        return [None if value is None else round(value, 3) for value in values]


def _mentions(region: Region | Sequence[Region], pictures: Sequence[Shown]) -> tuple[Mention, ...]:
    """Regions in pixels as boxes in fractions of the first picture.

    Raises:
        SkyEyeError: there is no picture, or a region is none or lies outside it.
    """
    regions: Any = [region] if isinstance(next(iter(region), None), Real) else region
    if not pictures:
        raise SkyEyeError("a region without a picture", where="region", remedy="give the picture that it lies in")
    width, height = pictures[0].image.size
    boxes = []
    for one in regions:
        if len(one) != 4:
            what = f"{tuple(one)} is no region"
            raise SkyEyeError(what, where="region", remedy="give x1, y1, x2, y2 in pixels")
        x1, y1, x2, y2 = one
        box = Box.from_pixels(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2), width, height).clipped()
        if not box.area:
            what = f"({x1:g}, {y1:g}, {x2:g}, {y2:g}) has no area inside the picture of {width} x {height} pixels"
            raise SkyEyeError(what, where="region", remedy="give x1, y1, x2, y2 in pixels, inside the picture")
        boxes.append(box)
    return (Mention(tuple(boxes)),)
