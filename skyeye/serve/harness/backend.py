"""Questions about pictures in memory, as evaluation kits ask them, answered as ``skyeye eval`` answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from skyeye.data.images.hashing import pixel_digest
from skyeye.data.images.load import load_image, to_rgb
from skyeye.data.record import Record, Turn
from skyeye.data.tasks import FREE, check_task
from skyeye.generation.answer import answer, open_to_answer
from skyeye.generation.opening import Opening
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import Picture, SkyEyeProcessor

#: Longest answer where a kit gives no limit.
MAX_NEW_TOKENS = 256
#: Questions whose pictures are held at a time, as pixels of the model's size; the same picture is held once.
WINDOW = 256
_MARKERS = ("<image>", "<video>")  # where other models' prompts have their pictures; ours has them in front


class Question(NamedTuple):
    """One question about pictures (files or in memory), all of which are shown before its words."""

    text: str
    pictures: tuple[Picture, ...]
    max_new_tokens: int = MAX_NEW_TOKENS


class Backend:
    """A model that answers what a kit asks.

    Args:
        model: in evaluation mode, on the device to use.
        processor: of the same checkpoint.
        batch_size: questions decoded together; changes speed and memory only.
        task: the task whose identifier opens every question, a key of :data:`~skyeye.data.tasks.TASKS` (``vqa``
            for ``[vqa]``); empty: questions are asked as the kit words them.

    Raises:
        SkyEyeError: unknown task.
    """

    def __init__(
        self,
        model: SkyEyeForConditionalGeneration,
        processor: SkyEyeProcessor,
        batch_size: int = 32,
        task: str = "",
    ):
        if task:
            check_task(task, "task")
        self.model, self.processor, self.batch_size = model, processor, batch_size
        self.task = task or FREE

    @classmethod
    def open(cls, checkpoint: str | Path, device: str | None = None, batch_size: int = 32, task: str = "") -> Backend:
        """The backend of a checkpoint directory; ``device`` None: the GPU of this process when there is one.

        Raises:
            SkyEyeError: no checkpoint there, or unknown task.
        """
        model, processor = open_to_answer(checkpoint, Opening(device=device))
        return cls(model, processor, batch_size, task)

    def answers(self, questions: Iterable[Question]) -> Iterator[str]:
        """Greedy answers, in the order of the questions; those about the same pictures share them."""
        questions = iter(questions)
        while True:
            held = _HeldPictures(self.processor)
            by_length: dict[int, list[Record]] = defaultdict(list)
            for number, question in enumerate(islice(questions, WINDOW)):
                turn = Turn(_without_markers(question.text), "", self.task)
                record = Record(str(number), "", "vqa", "test", held.names(question.pictures), (turn,))
                by_length[question.max_new_tokens].append(record)
            if not by_length:
                return
            said: dict[int, str] = {}
            for longest, records in by_length.items():
                texts = answer(self.model, held, records, batch_size=self.batch_size, max_new_tokens=longest)
                said |= {int(record.id): text for record, text in zip(records, texts, strict=True)}
            yield from (said[number] for number in range(len(said)))


def _without_markers(text: str) -> str:
    for marker in _MARKERS:
        text = text.replace(marker, "")
    return text.strip()


class _HeldPictures:
    """A processor for which names stand for pictures in memory."""

    def __init__(self, processor: SkyEyeProcessor):
        self.builder, self.tokenizer, self.decode = processor.builder, processor.tokenizer, processor.decode
        self._transform = processor.pixels
        self._pixels: dict[str, torch.Tensor] = {}

    def names(self, pictures: Iterable[Picture]) -> tuple[str, ...]:
        """A name for each picture, the same for the same pixels; the picture itself is not kept."""
        names = []
        for picture in pictures:
            image = to_rgb(picture) if isinstance(picture, Image.Image) else load_image(picture)
            name = f"{pixel_digest(image):016x}"
            if name not in self._pixels:
                self._pixels[name] = self._transform(image)
            names.append(name)
        return tuple(names)

    def pixels(self, name: str) -> torch.Tensor:
        return self._pixels[name]
