"""A detective for boxes: from some answers and their truths it says in which frame an answerer writes boxes.

Every frame turns the numbers of the answers into boxes; the likelihood of these beside the true boxes decides. An
answer is either about the truth, with normal errors of one unknown size in every number, or (an unknown share of them)
about anything. Frames that read the answers alike are named together. It says that it cannot tell where two would read
them differently and neither is far more likely, where no frame explains the answers better than it does after the
truths were given to other images, and where a scale without a name fits much better than all with one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skyeye.data.geometry.box_text import Size
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.images.smart_resize import SmartResize
from skyeye.data.record import Record
from skyeye.eval.box_angle import turning
from skyeye.eval.box_frame import Frame, Numbers, frames, numbers_in
from skyeye.eval.metrics.iou import true_boxes
from skyeye.eval.metrics.sizes import sizes

LOOKED_AT = 50  # answers with a box
FEWEST = 15
#: Logarithm of the ratio of likelihoods from which on one frame is held to be right and another to be wrong.
DECISIVE = 8.0
_SAME = 0.01  # fractions of the image, on average: boxes that differ by less are read alike
_ERRORS = np.array([0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.2])  # of a number, in fractions of the image
_STRAYS = np.array([0.02, 0.1, 0.3, 0.6])  # share of answers about anything
_UNNAMED = [1.03**n for n in range(-30, 280)]  # sides without a name, from 0.4 to 4,000


@dataclass(frozen=True)
class Verdict:
    """What the detective says.

    Attributes:
        frame: None: it cannot tell.
        alike: other frames that read these answers alike.
        turned: 1: angles are clockwise as seen, -1: counter-clockwise, 0: there are none, or it cannot tell.
        answers: how many were looked at.
        scores: the likeliest frames with the logarithm of their likelihood below that of the best.
        reason: why it cannot tell.
    """

    frame: Frame | None
    answers: int
    alike: tuple[Frame, ...] = ()
    turned: int = 0
    scores: tuple[tuple[Frame, float], ...] = ()
    reason: str = ""

    def read(self, text: str, size: Size | None) -> list[Box | OrientedBox]:
        """The boxes of an answer, in order; without a frame none."""
        if self.frame is None or (size is None and self.frame.needs_size):
            return []
        return [self.frame.read(numbers, size, self.turned) for numbers in numbers_in(text)]

    def __str__(self) -> str:
        if self.frame is None:
            others = "; ".join(f"{frame} ({-score:.1f} below the best)" for frame, score in self.scores[:3])
            return f"the frame of the boxes cannot be told: {self.reason}" + (
                f"; likeliest: {others}" if others else ""
            )
        words = f"boxes are {self.frame}"
        if self.turned:
            words += f", angles {'clockwise' if self.turned > 0 else 'counter-clockwise'}"
        if self.alike:
            words += f" (or, which these answers do not tell apart, {'; '.join(map(str, self.alike[:3]))})"
        behind = next((f for f in self.scores if f[0] not in (self.frame, *self.alike)), None)
        if behind:
            words += f"; next likely, by a factor of e^{-behind[1]:.0f}: {behind[0]}"
        return words


@dataclass
class _Evidence:
    """Answers with numbers beside the true boxes of their images."""

    fours: np.ndarray  # (N, 4)
    truths: np.ndarray  # (N, most boxes of an image, 4), filled up with the image's first box
    known: list[Size | None]

    def likelihood(self, frame: Frame, truths: np.ndarray | None = None) -> float:
        """Logarithm of the likelihood of all numbers, at the best error and share of strays.

        Args:
            truths: others than their own.
        """
        boxes, step = frame.boxes(self.fours, self.known)
        squares = ((boxes[:, None] - (self.truths if truths is None else truths)) ** 2).sum(axis=2).min(axis=1)
        near = np.exp(-squares[:, None] / (2 * _ERRORS**2)) / (2 * np.pi * _ERRORS**2) ** 2
        about = near * (step**2)[:, None]  # of numbers, not of fractions: two steps across, two down
        anything = max(float(np.ptp(self.fours)), 1e-6) ** -4
        mixed = (1 - _STRAYS) * about[:, :, None] + _STRAYS * anything
        return float(np.log(mixed).sum(axis=0).max())


def detect(records: Sequence[Record], texts: Sequence[str], resized: SmartResize | None = None) -> Verdict:
    """In which frame the boxes of these answers are written.

    Args:
        records: with ``references["boxes"]``; angles need ``references["polygons"]``, scales in pixels and padding the
            sizes of the images.
        texts: an answer for each; the first :data:`LOOKED_AT` of those with a box are looked at.
        resized: how the model that answered brings images to its size, where that is known.
    """
    read = [(record, found[0]) for record, text in zip(records, texts, strict=True) if (found := numbers_in(text))]
    read = [(record, numbers) for record, numbers in read if record.references["boxes"]][:LOOKED_AT]
    if len(read) < FEWEST:
        few = f"{len(read)} of {len(texts):,} answers hold four numbers in brackets or braces"
        return Verdict(None, len(read), reason=f"{few}; {FEWEST} are needed")
    known = sizes([record for record, _ in read])
    truths = [[box.as_tuple() for box in true_boxes(record)] for record, _ in read]
    most = max(map(len, truths))
    filled = np.array([boxes + boxes[:1] * (most - len(boxes)) for boxes in truths])
    evidence = _Evidence(np.array([numbers.four for _, numbers in read]), filled, known)
    return _verdict(evidence, read, resized)


def _verdict(
    evidence: _Evidence, read: Sequence[tuple[Record, Numbers]], resized: SmartResize | None = None
) -> Verdict:
    sized = all(size is not None for size in evidence.known)
    found = {frame: evidence.likelihood(frame) for frame in frames(sized, resized)}
    ranked = sorted(found.items(), key=lambda item: -item[1])  # of equal ones the plainest stays first
    best, highest = ranked[0]
    near = [frame for frame, value in ranked if highest - value < DECISIVE]
    scores = tuple((frame, value - highest) for frame, value in ranked[: len(near) + 3])
    count = len(read)
    chance = max(evidence.likelihood(best, others) for others in _elsewhere(evidence.truths))
    if highest - chance < DECISIVE:
        return Verdict(None, count, scores=scores, reason="the boxes fit those of other images as well")
    unnamed = max(evidence.likelihood(Frame("", side, order=best.order, padded=best.padded)) for side in _UNNAMED)
    if unnamed - highest > DECISIVE:
        return Verdict(None, count, scores=scores, reason="a scale without a name fits much better")
    plain = min(near, key=list(found).index)
    reading = plain.boxes(evidence.fours, evidence.known)[0]
    apart = [f for f in near if np.abs(f.boxes(evidence.fours, evidence.known)[0] - reading).mean() > _SAME]
    if apart:
        return Verdict(None, count, scores=scores, reason="several are likely, and read the answers differently")
    alike = tuple(frame for frame in near if frame != plain)
    return Verdict(plain, count, alike, turning(plain, read, evidence.known, DECISIVE), scores)


def _elsewhere(truths: np.ndarray) -> list[np.ndarray]:
    """The truths given to other images, in three ways."""
    return [np.random.default_rng(seed).permutation(truths) for seed in range(3)]
