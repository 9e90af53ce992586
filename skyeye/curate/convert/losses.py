"""What a record lost on its way into another layout: it is read back as it was written, and the two are compared."""

from __future__ import annotations

from collections.abc import Iterator

from skyeye.data.geometry.boxes import OrientedBox
from skyeye.data.record import Mention, Record, Turn

#: Fractions of the image; digits behind this are those of the arithmetic.
_SAME = 1e-9

Loss = tuple[str, str]


def losses(record: Record, back: Record) -> Iterator[Loss]:
    """(kind, what) of everything that differs.

    Args:
        record: what was to be written.
        back: what the written object is read as, with what stands beside it.
    """
    if len(record.images) != len(back.images):
        yield "images", f"{len(record.images)} images became {len(back.images)}"
    if len(record.turns) != len(back.turns):
        yield "turns", f"{len(record.turns)} questions became {len(back.turns)}"
        return
    for number, (turn, other) in enumerate(zip(record.turns, back.turns, strict=True), start=1):
        of_turn = f"turn {number}: " if len(record.turns) > 1 else ""
        for kind, what in _of_turn(turn, other):
            yield kind, of_turn + what
    for key in ("id", "source", "task", "split", "references", "regions"):
        if getattr(record, key) != getattr(back, key):
            yield key, f"{str(getattr(record, key))[:60]!r} became {str(getattr(back, key))[:60]!r}"


def _of_turn(turn: Turn, back: Turn) -> Iterator[Loss]:
    if (turn.system or None) != (back.system or None):
        yield "system", "what the system says is another text"
    if turn.task != back.task:
        yield "task", f"{turn.task} became {back.task}"
    alike = len(turn.mentions) == len(back.mentions) and all(map(_alike, turn.mentions, back.mentions))
    texts = [(turn.question, back.question), (turn.answer, back.answer)]
    if alike:
        yield from _of_boxes(turn, back)
        for before, after in texts:
            if before != after:
                yield "text changed", f"{before[:60]!r} became {after[:60]!r}"
    else:
        kind = "boxes grouped otherwise" if turn.mentions else "words read as a box"
        yield kind, f"{len(turn.mentions)} places of boxes are read as {len(back.mentions)}: {turn.answer[:40]!r}"


def _alike(mention: Mention, back: Mention) -> bool:
    return mention.phrase == back.phrase and len(mention.boxes) == len(back.boxes)


def _of_boxes(turn: Turn, back: Turn) -> Iterator[Loss]:
    rounded, upright, largest = 0, 0, 0.0
    for mention, other in zip(turn.mentions, back.mentions, strict=True):
        for box, read in zip(mention.boxes, other.boxes, strict=True):
            if isinstance(box, OrientedBox) and not isinstance(read, OrientedBox):
                upright += 1
                box = box.upright()
            if len(tuple(box)) == len(tuple(read)):
                moved = max(abs(a - b) for a, b in zip(box, read, strict=True))
                rounded, largest = rounded + (moved > _SAME), max(largest, moved)
    if upright:
        yield "oriented boxes written upright", f"{upright} boxes"
    if rounded:
        yield "boxes rounded", f"{rounded} boxes, by {largest:.4f} of the image at most"
