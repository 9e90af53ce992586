"""What is answered about a window, and what answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import Turn


@dataclass(frozen=True)
class Said:
    """One answer.

    Attributes:
        text: as the model gave it.
        score: the mean probability of its tokens; None: not known.
        boxes: each with the words that it belongs to (``""``: none), in fractions of the window.
    """

    text: str
    score: float | None = None
    boxes: tuple[tuple[str, Box | OrientedBox], ...] = ()

    def to_json(self) -> list[Any]:
        """As it stands in a journal."""
        return [self.text, self.score, [[phrase, list(box)] for phrase, box in self.boxes]]

    @classmethod
    def from_json(cls, entry: Sequence[Any]) -> Said:
        """The reverse of :meth:`to_json`."""
        text, score, boxes = entry
        read = [(phrase, OrientedBox(*numbers) if len(numbers) == 8 else Box(*numbers)) for phrase, numbers in boxes]
        return cls(text, score, tuple(read))


class WindowAnswerer(Protocol):
    """What answers questions about windows.

    Attributes:
        name: changes when the answers may: of a checkpoint its fingerprint.
        side: of the pictures that it looks at, in pixels.
    """

    name: str
    side: int

    def prepare(self, picture: Image.Image) -> Any:
        """A window, ready to be asked about; called beside the answering, in another thread."""
        ...

    def answer(self, prepared: Sequence[Any], turns: Sequence[Turn]) -> list[list[Said]]:
        """The answers to every turn about every window. They are the same whenever the arguments are the same."""
        ...
