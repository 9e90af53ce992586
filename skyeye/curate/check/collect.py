"""Records go by one at a time; what is kept of them is little, and judged when all have been seen."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence

import numpy as np

from skyeye.curate.check.findings import Tally
from skyeye.curate.check.images import FLAT, Seen
from skyeye.curate.check.leakage import Sides
from skyeye.curate.check.repeats import Places, Repeats
from skyeye.curate.check.texts import text_findings
from skyeye.curate.check.vocabulary import Vocabulary
from skyeye.data.images.reference import parse_reference
from skyeye.data.record import Record

_FLAT = "shows {} grey levels of 256 once it is read; bands or stretch may choose better (docs/own_data.md)"
LARGE_SIDE = 2048  # pixels; in a 448-pixel tower a car of such a picture is less than two pixels long


class Collection:
    """Everything a check keeps. Records are numbered through all sources, held-out ones behind all others."""

    def __init__(self, sources: Sequence[str]):
        self.tallies = {name: Tally() for name in sources}
        self._names = list(sources)
        self._places, self._source_of = Places(), array("L")
        self._repeats, self._sides, self._vocabulary = Repeats(), Sides(), Vocabulary()
        self._held_from: int | None = None

    @property
    def images(self) -> list[str]:
        """References of the distinct images shown, in order of appearance."""
        return self._sides.names

    def take(self, record: Record, source: str, side: str) -> None:
        """A record of the target that is used on a side (``train``, ``val``, ``test``)."""
        tally = self.tallies[source]
        tally.records_out += 1
        tally.splits[record.split] += 1
        tally.tasks[record.task] += 1
        for kind, what in text_findings(record):
            tally.find(kind, record.where, what)
        self._repeats.add(record)
        self._vocabulary.add(record, trains=side == "train")
        self._note(record, source, side)

    def hold_out(self, record: Record, source: str) -> None:
        """A record that is no part of the target but of the evaluation beside it. Only after every :meth:`take`."""
        if self._held_from is None:
            self._held_from = len(self._places)
        self._vocabulary.add(record, trains=False)
        self._note(record, source, record.split)

    def judge(self, seen: Sequence[Seen], threshold: int) -> dict[str, dict[str, object]]:
        """Put down what all records and the look of all images show together.

        Args:
            seen: what was seen of each of :attr:`images`.
            threshold: see :func:`skyeye.data.images.hashing.near_pairs`.

        Returns:
            The comparison of answers, see :meth:`~skyeye.curate.check.vocabulary.Vocabulary.compare`.
        """
        self._judge_images(seen)
        for record, earlier in self._repeats.duplicates():
            self._find("duplicate record", record, f"says the same as {self._places[earlier]}")
        for record, earlier in self._repeats.contradictions():
            self._find("contradicting answers", record, f"answers the question of {self._places[earlier]} otherwise")
        for kind, record, trained, what in self._sides.leaks(seen, threshold):
            self._find(kind, record, f"{what}; trained on in {self._places[trained]}")
        return self._vocabulary.compare()

    def readable_images(self, seen: Sequence[Seen]) -> dict[str, int]:
        """Distinct images of each source that can be read."""
        readable = np.array([look.size is not None for look in seen], dtype=bool)
        sources = np.frombuffer(self._source_of, dtype=np.dtype("L"))[: self._held_from]
        # the records of a source stand together
        bounds = np.searchsorted(sources, np.arange(len(self._names) + 1))
        return {
            name: int(readable[self._sides.images_of(first, end)].sum())
            for name, first, end in zip(self._names, bounds[:-1], bounds[1:], strict=True)
        }

    def _note(self, record: Record, source: str, side: str) -> None:
        number = len(self._places)
        self._places.add(record.where or source, record.id)
        self._source_of.append(self._names.index(source))
        self._sides.add(number, [_canonical(image) for image in record.images], side, self._source_of[-1])

    def _find(self, kind: str, record: int, what: str) -> None:
        self.tallies[self._names[self._source_of[record]]].find(kind, self._places[record], what)

    def _judge_images(self, seen: Sequence[Seen]) -> None:
        unreadable = np.array([image for image, look in enumerate(seen) if look.error], dtype=np.int64)
        for record, image in zip(*self._sides.records_showing(unreadable), strict=True):
            if self._held_from is None or record < self._held_from:
                tally = self.tallies[self._names[self._source_of[record]]]
                tally.records_out -= 1
                tally.report("unreadable image", self._places[record], str(seen[image].error))
        large = np.array(
            [i for i, look in enumerate(seen) if look.size and max(look.size) > LARGE_SIDE], dtype=np.int64
        )
        flat = {i: look.levels for i, look in enumerate(seen) if look.levels is not None and look.levels < FLAT}
        for what, images in (
            ("very large image", {i: "{} is {} x {} pixels".format(self.images[i], *seen[i].size) for i in large}),
            ("nearly constant image", {i: f"{self.images[i]} {_FLAT.format(levels)}" for i, levels in flat.items()}),
            ("copy of an image", dict(self._sides.copies(seen))),
        ):
            told = set()
            for record, image in zip(*self._sides.records_showing(np.array(list(images), dtype=np.int64)), strict=True):
                if image not in told:
                    told.add(image)
                    self._find(what, record, images[image])


def _canonical(reference: str) -> str:
    """One spelling for one picture: ``a/../b.jpg`` is ``b.jpg``. What stands behind ``#``, and addresses, stay."""
    path, _ = parse_reference(reference)
    return reference if "://" in path else os.path.normpath(path) + reference[len(path) :]
