"""Answers to a few fixed questions by the model as it is in the middle of training: ``samples/<stage>-<step>.json``."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from PIL import Image, ImageDraw

from skyeye.config.schema import RunConfig, SourceConfig
from skyeye.data.files import whole_file, write_json
from skyeye.data.formats import iter_source
from skyeye.data.formats.base.problems import Problem
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.images.load import load_image
from skyeye.data.mixture import Mixture
from skyeye.data.record import Record, choose
from skyeye.errors import SkyEyeError
from skyeye.generation.engine import answer_groups
from skyeye.generation.requests import PromptGroup
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.precision import DTYPES
from skyeye.models.processing import SkyEyeProcessor
from skyeye.train.context import RunContext
from skyeye.train.guards.watchdog import Watchdog
from skyeye.train.hooks import AnsweringHook
from skyeye.train.monitor.trackers import Shown, Tracker
from skyeye.train.setup import PlannedStage

LONGEST_ANSWER = 64  # tokens
PICTURE_SIDE = 320  # pixels of the longer side
MOST_PICTURES = 8  # of one sample, e.g. frames of a video
SEED = 0  # of the choice of samples: the same ones in every stage and in runs that are compared
ANSWER, EXPECTED = "#ff8a1f", "#21c063"


class Samples:
    """The fixed samples of one stage.

    Args:
        folder: run folder.
        records: what is asked: the first question of each.
        held_out: whether no stage trains on them.
        precision: fp32, bf16 or fp16, as the training computes.
    """

    def __init__(
        self,
        folder: Path,
        records: Sequence[Record],
        processor: SkyEyeProcessor,
        *,
        stage: str,
        held_out: bool,
        precision: str,
        tracker: Tracker | None,
    ):
        self.folder, self.records, self.processor, self.stage = folder / "samples", list(records), processor, stage
        self.held_out, self.tracker, self.dtype = held_out, tracker, DTYPES[precision]

    def file(self, step: int) -> Path:
        """Where the answers after a step are."""
        return self.folder / f"{self.stage}-{step:07d}.json"

    def answer(self, step: int, model: SkyEyeForConditionalGeneration) -> None:
        """Let the model answer after finished step ``step``."""
        with undisturbed(model):
            answers = self._answers(model)
        rows, shown = [], []
        for record, (answer, failed) in zip(self.records, answers, strict=True):
            style, turn = self.processor.builder.style, record.turns[0]
            question, expected = style.question(turn), style.answer(turn)
            shown_images = () if failed else record.images[:MOST_PICTURES]
            boxes = {
                "question": _corners(box for mention in turn.question_mentions for box in mention.boxes),
                "expected": _corners(box for mention in turn.answer_mentions for box in mention.boxes),
                "answer": _corners(style.read_boxes(answer)),
            }
            pictures = [write_thumbnail(reference, self.folder) for reference in shown_images]
            rows.append(
                {
                    "id": record.id,
                    "source": record.source,
                    "task": record.task,
                    "where": record.where,
                    "images": list(record.images),
                    "pictures": pictures,
                    "question": question,
                    "expected": expected,
                    "answer": answer,
                    "failed": failed,
                    "boxes": boxes,
                }
            )
            text = f"question: {question}\nexpected: {expected}\nanswer: {failed or answer}"
            shown.append(Shown(self._drawn(pictures, boxes), text))
        content = {"stage": self.stage, "step": step, "held_out": self.held_out, "samples": rows}
        write_json(self.file(step), content, indent=1)
        if self.tracker is not None:
            self.tracker.samples(self.stage, step, shown)

    @torch.no_grad()  # not inference mode: what a layer keeps for later passes has to serve training, too
    def _answers(self, model: SkyEyeForConditionalGeneration) -> list[tuple[str, str]]:
        """(answer, why there is none) for each record."""
        found = [("", "")] * len(self.records)
        groups, places, builder = [], [], self.processor.builder
        autocast = torch.autocast(model.device.type, self.dtype, enabled=self.dtype != torch.float32)
        with autocast:
            for place, record in enumerate(self.records):
                try:
                    pixels = [self.processor.pixels(reference) for reference in record.images]
                    prompt = builder.prompt(len(pixels), record.turns[:1])
                except SkyEyeError as error:
                    found[place] = ("", str(error))
                    continue
                seen = None
                if pixels:
                    question = builder.question_ids([(len(pixels), record.turns[0])])
                    question = None if question is None else question.to(model.device)
                    seen = model.encode_images(torch.stack(pixels).to(model.device), question)
                groups.append(PromptGroup([prompt], seen, [LONGEST_ANSWER]))
                places.append(place)
            for answer in answer_groups(model, groups, rows=len(groups) or 1, eos_token_id=builder.end_token_ids):
                found[places[answer.group]] = (self.processor.decode(answer.ids), "")
        return found

    def _drawn(self, pictures: Sequence[str], boxes: Mapping[str, list[list[float]]]) -> Image.Image | None:
        """The first picture with the boxes that were expected and answered, for a tracker."""
        if self.tracker is None or not pictures:
            return None
        with Image.open(self.folder / "pictures" / pictures[0]) as file:
            picture = file.convert("RGB")
        draw = ImageDraw.Draw(picture)
        for kind, colour in (("expected", EXPECTED), ("answer", ANSWER)):
            for box in boxes[kind]:
                draw.rectangle(Box(*box).to_pixels(picture.width - 1, picture.height - 1), outline=colour, width=2)
        return picture


def _corners(boxes: Iterable[Box | OrientedBox]) -> list[list[float]]:
    """Upright boxes, cut to the image, as they stand in a file."""
    return [list((box.upright() if isinstance(box, OrientedBox) else box).clipped()) for box in boxes]


class SamplesHook(AnsweringHook):
    """What ``run.samples_every`` asks for in one stage.

    Args:
        samples: of the process that writes; None in the others, which wait.
        accelerator, watchdog, every, steps: as for :class:`~skyeye.train.hooks.AnsweringHook`.
    """

    def __init__(
        self,
        samples: Samples | None,
        model: SkyEyeForConditionalGeneration,
        accelerator: Accelerator,
        watchdog: Watchdog,
        *,
        every: int,
        steps: int,
    ):
        super().__init__(accelerator, watchdog, every=every, steps=steps)
        self.samples, self.model = samples, model

    def is_done(self, step: int) -> bool:
        return self.samples is None or self.samples.file(step).is_file()

    def answer(self, step: int) -> None:
        if self.samples is not None:
            self.samples.answer(step, self.model)


def samples_of_stage(context: RunContext, stage: PlannedStage, mixture: Mixture) -> Samples:
    """What the model is asked in a stage; to be called by the process that writes.

    Raises:
        SkyEyeError: ``run.samples_source`` cannot be read or holds no record.
    """
    run = context.setup.run
    records, held_out = choose_samples(run, context.setup.sources, mixture)
    return Samples(
        context.folder,
        records,
        context.processor,
        stage=stage.name,
        held_out=held_out,
        precision=run.precision,
        tracker=context.tracker,
    )


def choose_samples(run: RunConfig, sources: Mapping[str, SourceConfig], mixture: Mixture) -> tuple[list[Record], bool]:
    """The samples of a stage: of ``run.samples_source``, else of the stage's first groups; and whether held out.

    Raises:
        SkyEyeError: the source cannot be read or holds no record.
    """
    if run.samples_source is None:
        first = min(len(mixture), 4 * run.samples)
        drawn = [record for n in range(first) for record in mixture.draw(n).records]
        return choose({(record.source, record.id): record for record in drawn}.values(), run.samples, SEED), False
    items = iter_source(sources[run.samples_source], run.samples_source)
    return choose((item for item in items if not isinstance(item, Problem)), run.samples, SEED), True


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards every module is in the mode it was in, every parameter is trained or
    not as before, and all random number generators stand where they stood: training goes on as if nothing had been.

    What is compiled runs as it is written meanwhile. Every length of a prompt and every step of an answer would be
    compiled anew, and torch compiles a layer a few times only: the packs of training would be left to run without.
    """
    modes = [(module, module.training) for module in model.modules()]
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    drawn = random.getstate()
    devices = [model.device] if model.device.type == "cuda" else []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        model.eval()
        try:
            yield
        finally:
            model.train()  # wakes and rests adapters as in training
            for module, mode in modes:
                module.training = mode
            for parameter, needed in trained:
                parameter.requires_grad_(needed)
            random.setstate(drawn)


def write_thumbnail(reference: str, folder: Path) -> str:
    """The name of the small JPEG of an image below ``folder/pictures``, written once."""
    name = hashlib.blake2b(reference.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() + ".jpg"
    path = folder / "pictures" / name
    if not path.is_file():
        image = load_image(reference)
        image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BICUBIC)
        with whole_file(path) as file:
            image.convert("RGB").save(file, "JPEG", quality=85)
    return name
