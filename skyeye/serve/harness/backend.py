"""Questions about pictures in memory, as evaluation kits ask them, answered as ``skyeye eval`` answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from skyeye.data.record import Turn
from skyeye.data.tasks import FREE, check_task
from skyeye.serve.model import MAX_NEW_TOKENS, Model, Request, load
from skyeye.serve.pictures import Reduced, show

#: Questions whose pictures are held at a time, as pixels of the model's size; the same picture is held once.
WINDOW = 256
_MARKERS = ("<image>", "<video>")  # where other models' prompts have their pictures; ours has them in front


class Question(NamedTuple):
    """One question about pictures (files or in memory), all of which are shown before its words."""

    text: str
    pictures: tuple[str | Path | Image.Image, ...]
    max_new_tokens: int = MAX_NEW_TOKENS


class Backend:
    """A model that answers what a kit asks.

    Args:
        task: the task whose identifier opens every question, a key of :data:`~skyeye.data.tasks.TASKS` (``vqa``
            for ``[vqa]``); empty: questions are asked as the kit words them.

    Raises:
        SkyEyeError: unknown task.
    """

    def __init__(self, model: Model, task: str = ""):
        if task:
            check_task(task, "task")
        self.model, self.task = model, task or FREE

    @classmethod
    def open(cls, checkpoint: str | Path, device: str | None = None, batch_size: int = 32, task: str = "") -> Backend:
        """The backend of a checkpoint directory.

        Args:
            device: None: the GPU of this process when there is one.
            batch_size: questions decoded together; changes speed and memory only.

        Raises:
            SkyEyeError: no checkpoint there, or unknown task.
        """
        model = load(checkpoint, device=device)
        model.rows = batch_size
        return cls(model, task)

    def answers(self, questions: Iterable[Question]) -> Iterator[str]:
        """Greedy answers, in the order of the questions; those about the same pictures share them."""
        questions = iter(questions)
        while True:
            held: dict[int, Reduced] = {}
            by_length: dict[int, list[tuple[int, Request]]] = defaultdict(list)
            for number, question in enumerate(islice(questions, WINDOW)):
                by_length[question.max_new_tokens].append((number, self._request(question, held)))
            if not by_length:
                return
            said: dict[int, str] = {}
            for longest, asked in by_length.items():
                answers = self.model.answers([request for _, request in asked], longest)
                said |= {asked[place][0]: answer.text for place, answer in answers}
            yield from (said[number] for number in range(len(said)))

    def _request(self, question: Question, held: dict[int, Reduced]) -> Request:
        pictures = []
        for picture in question.pictures:
            shown = show(picture)
            if shown.digest not in held:
                held[shown.digest] = Reduced.of(shown, self.model.processor)
            pictures.append(held[shown.digest])
        return Request(tuple(pictures), (Turn(_without_markers(question.text), "", self.task),))


def _without_markers(text: str) -> str:
    for marker in _MARKERS:
        text = text.replace(marker, "")
    return text.strip()
