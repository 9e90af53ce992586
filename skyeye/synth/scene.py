"""What is in a synthetic scene: pure data, drawn from a seeded generator, without any pixel.

Positions are fractions of the image side; every box edge is a multiple of 1/112, so that boxes fall on whole pixels at
112, 224 or 448 px. A box encloses an object together with the ground it stands on (a plane's apron, a ship's basin).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KINDS = ("plane", "ship", "storage tank", "court", "vehicle", "bridge")
COLOURS = ("red", "blue", "white", "yellow", "green")
RURAL = ("farmland", "forest", "desert", "river")
URBAN = ("residential", "industrial", "airport", "harbor")
GROUNDS = RURAL + URBAN
#: What can move in a frame sequence, and the words for how it moves.
MOVERS = ("plane", "ship", "vehicle")
MOTIONS = ("left", "right", "up", "down", "still")
FRAMES = 4

GRID = 112
GAP = 3 / GRID  # kept free between two boxes
BORDER = 1 / GRID  # kept free at the edge of the image
SMALL = (0.27, 0.32)
LARGE_FROM = 0.36
LARGE_TO = {1: 0.46, 2: 0.44, 3: 0.41, 4: 0.39}
OBJECT_SHARES = {1: 0.25, 2: 0.30, 3: 0.25, 4: 0.20}
LARGE_SHARES = {1: 0.65, 2: 0.55, 3: 0.45, 4: 0.30}
ONE_KIND_SHARE = 0.4  # of the scenes with several objects show one kind only, in different colours

BoxTuple = tuple[float, float, float, float]


@dataclass(frozen=True)
class Thing:
    """An object: its kind, colour, size word, and box (x1, y1, x2, y2) in fractions."""

    kind: str
    colour: str
    size: str
    box: BoxTuple

    @property
    def phrase(self) -> str:
        """Colour and kind: no two objects of a scene share it."""
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """A ground (which is also the scene class) and one to four objects on it."""

    ground: str
    things: tuple[Thing, ...]

    def count(self, kind: str) -> int:
        return sum(thing.kind == kind for thing in self.things)

    @property
    def area(self) -> str:
        return area_of(self.ground)


@dataclass(frozen=True)
class Clip:
    """A short frame sequence: one object that moves along a strip (runway, canal, road), or stays still."""

    ground: str
    kind: str
    colour: str
    motion: str
    vertical: bool
    boxes: tuple[BoxTuple, ...]

    @property
    def phrase(self) -> str:
        return f"{self.colour} {self.kind}"


def area_of(ground: str) -> str:
    return "rural" if ground in RURAL else "urban"


def overlaps(a: BoxTuple, b: BoxTuple, gap: float = 0.0) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


def make_scene(rng: np.random.Generator) -> Scene:
    """One scene. The ground tells nothing about the objects, so that no question can be answered from it."""
    ground = str(rng.choice(GROUNDS))
    number = int(rng.choice(list(OBJECT_SHARES), p=list(OBJECT_SHARES.values())))
    boxes = _place(rng, number)
    names = _names(rng, number)
    things = [Thing(kind, colour, size, box) for (kind, colour), (size, box) in zip(names, boxes, strict=True)]
    return Scene(ground, tuple(things))


def make_clip(rng: np.random.Generator) -> Clip:
    """One frame sequence of :data:`FRAMES` frames."""
    motion = str(rng.choice(MOTIONS))
    vertical = motion in ("up", "down") or (motion == "still" and bool(rng.random() < 0.5))
    length, breadth = _snap(rng.uniform(0.26, 0.32)), _snap(rng.uniform(0.24, 0.30))
    across = _snap(rng.uniform(0.1, 0.9 - breadth))
    first, last = rng.uniform(0.02, 0.08), 0.98 - length - rng.uniform(0.0, 0.06)
    if motion in ("left", "up"):
        first, last = last, first
    if motion == "still":
        first = last = rng.uniform(0.1, 0.9 - length)
    boxes = []
    for along in np.linspace(first, last, FRAMES):
        start = _snap(along)
        box = (start, across, start + length, across + breadth)
        boxes.append((box[1], box[0], box[3], box[2]) if vertical else box)
    kind, colour = str(rng.choice(MOVERS)), str(rng.choice(COLOURS))
    return Clip(str(rng.choice(GROUNDS)), kind, colour, motion, vertical, tuple(boxes))


def _names(rng: np.random.Generator, number: int) -> list[tuple[str, str]]:
    """Kinds and colours; a pair occurs once at most."""
    if number > 1 and rng.random() < ONE_KIND_SHARE:
        kind = str(rng.choice(KINDS))
        return [(kind, str(colour)) for colour in rng.choice(COLOURS, size=number, replace=False)]
    names: list[tuple[str, str]] = []
    while len(names) < number:
        name = (str(rng.choice(KINDS)), str(rng.choice(COLOURS)))
        if name not in names:
            names.append(name)
    return names


def _place(rng: np.random.Generator, number: int) -> list[tuple[str, BoxTuple]]:
    """Sizes and boxes that keep clear of each other, found by trying; a full scene starts over."""
    while True:
        placed: list[tuple[str, BoxTuple]] = []
        for _ in range(40 * number):
            size = "large" if rng.random() < LARGE_SHARES[number] else "small"
            low, high = (LARGE_FROM, LARGE_TO[number]) if size == "large" else SMALL
            side, stretch = rng.uniform(low, high), rng.uniform(0.92, 1.08)
            width, height = _snap(side * stretch), _snap(side / stretch)
            x, y = (_snap(rng.uniform(BORDER, 1 - BORDER - extent)) for extent in (width, height))
            box = (x, y, x + width, y + height)
            if not any(overlaps(box, other, GAP) for _, other in placed):
                placed.append((size, box))
            if len(placed) == number:
                return placed


def _snap(value: float) -> float:
    return round(float(value) * GRID) / GRID
