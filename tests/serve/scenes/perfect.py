"""What sees rectangles of a colour perfectly, without a model; processes of tests import this file, too."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from skyeye.data.geometry.boxes import Box
from skyeye.data.record import Turn
from skyeye.serve.scenes.answers import Said

COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}


class Oracle:
    """Finds the rectangles of a colour; writes their boxes in whole hundredths, as models do.

    Attributes:
        asked: the shape of each picture, one entry for each time it is asked about.
    """

    def __init__(self, side: int = 100, name: str = "oracle"):
        self.side, self.name, self.asked = side, name, []

    def prepare(self, picture: Image.Image) -> np.ndarray:
        return np.asarray(picture)

    def answer(self, prepared: Sequence[np.ndarray], turns: Sequence[Turn]) -> list[list[Said]]:
        self.asked += [pixels.shape for pixels in prepared]
        return [[self._about(pixels, turn) for turn in turns] for pixels in prepared]

    def _about(self, pixels: np.ndarray, turn: Turn) -> Said:
        words = turn.question.split()
        colour = next((word for word in words if word in COLOURS), None)
        if colour is None:
            return Said("forest" if pixels[..., 1].mean() > 50 else "desert", 0.75)
        boxes = self._boxes(pixels, colour)
        if turn.task == "vqa":
            return Said(("yes" if boxes else "no") if words[0] == "is" else str(len(boxes)), 0.5)
        return Said(f"{colour} things", 0.9, tuple((f"{colour} things", box) for box in boxes))

    def _boxes(self, pixels: np.ndarray, colour: str) -> list[Box]:
        height, width = pixels.shape[:2]
        place = list(COLOURS).index(colour)
        others = np.delete(pixels, place, axis=2).max(axis=2)
        labels, _ = ndimage.label((pixels[..., place] > 130) & (others < 110))
        found = []
        for rows, columns in ndimage.find_objects(labels):
            numbers = (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)
            found.append(Box(*(int(value * 100 + 1e-9) / 100 for value in numbers)))
        return [box for box in found if box.area]


def main(scenes: str, out: str) -> None:
    """Annotate every scene of a folder; a process to be killed. It says when it begins."""
    from skyeye.serve.scenes.annotate import Asking
    from skyeye.serve.scenes.many import annotate_many, jobs_of, scenes_of
    from skyeye.serve.scenes.questions import parse_question

    print("begun", flush=True)
    asking = Asking((parse_question("[detection] red things"), parse_question("[count] green things")), chunk=2)
    jobs = jobs_of(scenes_of(scenes), Path(out), [".geojson", ".gpkg"], "EPSG:4326")
    annotate_many(jobs, asking, Oracle(), Path(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
