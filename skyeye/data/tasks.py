"""What can be asked of an image. How a model family asks it stands in :mod:`skyeye.data.prompts`."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from skyeye.errors import SkyEyeError


@dataclass(frozen=True)
class Task:
    """A kind of question.

    Attributes:
        images: what it is asked about: ``one`` image, a ``pair`` (before and after), the ``frames`` of a video, or
            ``any`` number, none included.
        answer: what answers it.
        like: the task whose tag a family puts before it that has none of its own for it.
    """

    name: str
    images: Literal["one", "pair", "frames", "any"] = "one"
    answer: Literal["text", "boxes", "mask"] = "text"
    like: str | None = None


#: In this order in the index of a shard set; new ones go to the end.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("caption"),
        Task("video_caption", images="frames"),
        Task("vqa"),
        Task("classification"),
        Task("refer", answer="boxes"),
        Task("identify"),
        Task("detection", answer="boxes"),
        Task("grounding"),
        Task("detail", images="any"),
        Task("conversation", images="any"),
        Task("detailed_classification", like="classification"),
        Task("counting", like="vqa"),
        Task("region_classification", like="identify"),
        Task("region_vqa", like="vqa"),
        Task("change_caption", images="pair", like="caption"),
        Task("change_vqa", images="pair", like="vqa"),
    )
}

#: Asked in the user's own words: no family marks these.
FREE = "conversation"


def check_task(name: str, where: str) -> None:
    """Refuse a name that is no task.

    Args:
        where: the setting that holds it, for the message.

    Raises:
        SkyEyeError: it is none of :data:`TASKS`.
    """
    if name not in TASKS:
        close = get_close_matches(name.lower(), list(TASKS), n=1, cutoff=0.6)
        remedy = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(TASKS)}"
        raise SkyEyeError(f"unknown task {name!r}", where=where, remedy=remedy)
