"""The words of a model of the ecosystem: plain questions, and boxes as its family writes them."""

from __future__ import annotations

from collections.abc import Sequence

from skyeye.data.geometry.box_text import NOTATIONS, Size
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.prompts import ChatTemplate
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.boxes import BoxReader, in_frame, in_notation
from skyeye.eval.box_detective import Verdict
from skyeye.eval.box_families import BoxFamily


class OtherStyle(ChatTemplate):
    """Questions and answers of a model whose conversations its own chat template writes.

    Args:
        name: of the family; None: found out later (:meth:`learn`), and until then no box can be read or written.
    """

    def __init__(self, family: BoxFamily, name: str | None):
        self.name, self.frame = name, family.frame
        notation = NOTATIONS["thousandths"] if name is None or name not in NOTATIONS else NOTATIONS[name]
        super().__init__(None, notation)
        self.tags, self.phrase = dict(family.tags), family.phrase  # type: ignore[misc]  # of this family, not of the class
        self._read: BoxReader | None = None
        if self.frame is not None:
            self._read = in_frame(self.frame)
        elif name is not None:
            self._read = in_notation(name)

    def learn(self, verdict: Verdict) -> None:
        """Read and write boxes in the frame that the detective found."""
        self.frame, self._read = verdict.frame, verdict.read

    @property
    def reading(self) -> str:
        """How boxes are read, in words."""
        if self.frame is not None:
            return f"boxes are read as {self.frame} (--boxes {self.name})"
        return f"boxes are read in the notation {self.name}"

    @property
    def needs_size(self) -> bool:
        return self.boxes.needs_size if self.frame is None else self.frame.needs_size

    def read_boxes(self, text: str, size: Size | None = None) -> list[Box | OrientedBox]:
        return [] if self._read is None else list(self._read(text, size))

    def _write_boxes(self, boxes: Sequence[Box | OrientedBox], size: Size | None) -> str:
        if self.frame is not None:
            return ", ".join(self.frame.write(box, size) for box in boxes)
        if self._read is None:
            raise SkyEyeError(
                "questions with boxes in them are asked before it is known how the model writes boxes",
                where="--boxes auto",
                remedy="name it, e.g. --boxes norm1000, or ask a benchmark whose answers are boxes as well",
            )
        return self.boxes.write_list(boxes, size if self.boxes.needs_size else None)
