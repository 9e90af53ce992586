"""The six kinds of objects, seen from above, each on its own ground (its pad).

Every function draws on a canvas of the object's box: the origin is the centre, one unit is half of the shorter side.
A kind shows in the colour of its pad and in its outline, so that a small model can learn it at 112 px.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from skyeye.synth.canvas import Canvas, Colour, Point, jitter, shade

PAINT = {
    "red": (214, 38, 40),
    "blue": (44, 96, 236),
    "white": (244, 244, 242),
    "yellow": (250, 212, 36),
    "green": (88, 202, 62),
}
PADS = {
    "plane": (146, 148, 152),
    "ship": (34, 104, 152),
    "storage tank": (206, 176, 126),
    "court": (28, 108, 72),
    "vehicle": (62, 62, 68),
    "bridge": (96, 142, 132),
}
WHITE = (238, 238, 234)
GLASS = (36, 46, 60)


def draw_thing(kind: str, colour: str, rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A picture of (width, height) pixels: the object of that kind and colour on its pad."""
    pad = jitter(rng, PADS[kind], 7)
    canvas = Canvas(width, height, pad, unit=min(width, height) / 2, oversample=3)
    THINGS[kind](canvas, rng, pad, jitter(rng, PAINT[colour], 10))
    return canvas.finish()


def draw_mover(kind: str, canvas: Canvas, rng: np.random.Generator, pad: Colour, colour: str, heading: float) -> None:
    """The object alone, without its pad's markings, turned to ``heading`` (degrees clockwise from right)."""
    canvas.turn(heading + 90)
    BODIES[kind](canvas, pad, jitter(rng, PAINT[colour], 10))


def plane(canvas: Canvas, rng: np.random.Generator, pad: Colour, paint: Colour) -> None:
    for at in np.arange(-1.5, 1.6, 0.5):  # slabs of concrete
        canvas.line([(at, -2), (at, 2)], shade(pad, 0.93), 0.02)
        canvas.line([(-2, at), (2, at)], shade(pad, 0.93), 0.02)
    canvas.frame(-0.92, -0.92, 0.92, 0.92, (222, 186, 60), 0.04)
    canvas.turn(rng.uniform(0, 360))
    canvas.line([(0, 0), (0, 2)], (222, 186, 60), 0.05)
    _plane_body(canvas, pad, paint)


def _plane_body(canvas: Canvas, pad: Colour, paint: Colour) -> None:
    wings = _mirrored([(0.1, -0.25), (0.86, 0.26), (0.86, 0.42), (0.1, 0.16)])
    tail = _mirrored([(0.08, 0.5), (0.36, 0.76), (0.36, 0.88), (0, 0.78)])
    fuselage = _mirrored([(0, -0.9), (0.09, -0.78), (0.13, -0.6), (0.13, 0.3), (0.05, 0.86)])
    for part in (wings, tail, fuselage):
        canvas.polygon(part, shade(pad, 0.5), shift=0.08)
    canvas.polygon(wings, shade(paint, 0.9))
    canvas.polygon(tail, shade(paint, 0.86))
    for x in (-0.42, 0.42):  # engines
        canvas.rect(x - 0.06, -0.1, x + 0.06, 0.12, shade(paint, 0.6))
    canvas.polygon(fuselage, paint)
    canvas.rect(-0.07, -0.74, 0.07, -0.66, GLASS)


def ship(canvas: Canvas, rng: np.random.Generator, pad: Colour, paint: Colour) -> None:
    for _ in range(26):
        x, y = rng.uniform(-1, 1, 2)
        end = (x + rng.uniform(0.1, 0.3), y + rng.uniform(-0.04, 0.04))
        canvas.line([(x, y), end], shade(pad, rng.choice([0.86, 1.16])), 0.03)
    canvas.turn(rng.uniform(0, 360))
    _ship_body(canvas, pad, paint)


def _ship_body(canvas: Canvas, pad: Colour, paint: Colour) -> None:
    foam = shade((206, 228, 236), 1.0)
    canvas.polygon([(0, 0.55), (0.4, 1.6), (-0.4, 1.6)], shade(pad, 1.3))
    for side in (-1, 1):  # wake
        canvas.line([(0.1 * side, -0.5), (0.48 * side, 0.5), (0.72 * side, 1.3)], foam, 0.05)
    canvas.line([(0, 0.7), (0, 1.5)], foam, 0.1)
    hull = _mirrored([(0, -0.88), (0.16, -0.6), (0.26, -0.25), (0.26, 0.7), (0.2, 0.8)])
    canvas.polygon(hull, shade(pad, 0.55), shift=0.06)
    canvas.polygon(hull, paint)
    canvas.polygon([(0.6 * x, 0.82 * y) for x, y in hull], shade(paint, 0.84))
    canvas.rect(-0.16, 0.34, 0.16, 0.6, WHITE)
    canvas.rect(-0.16, 0.34, 0.16, 0.4, GLASS)
    for y in (-0.36, -0.12, 0.12):
        canvas.rect(-0.12, y - 0.07, 0.12, y + 0.07, shade(paint, 1.15))


def storage_tank(canvas: Canvas, rng: np.random.Generator, pad: Colour, paint: Colour) -> None:
    canvas.frame(-0.9, -0.9, 0.9, 0.9, shade(pad, 0.78), 0.12)  # bund
    canvas.frame(-0.94, -0.94, 0.94, 0.94, shade(pad, 1.12), 0.05)
    canvas.turn(rng.uniform(0, 360))
    canvas.line([(0, 0), (0, 1.5)], (120, 116, 112), 0.07)
    radius = rng.uniform(0.66, 0.76)
    canvas.circle(0, 0, radius, shade(pad, 0.5), shift=0.11)
    canvas.circle(0, 0, radius, shade(paint, 0.68))
    canvas.circle(0, 0, radius * 0.93, paint)
    canvas.circle(0, 0, radius * 0.9, shade(paint, 0.93), shift=0.02)
    canvas.circle(0, 0, radius * 0.82, paint)
    canvas.circle(0, 0, 0.1, shade(paint, 0.7))
    canvas.line([(0, radius * 0.3), (0, radius)], shade(paint, 0.6), 0.04)


def court(canvas: Canvas, rng: np.random.Generator, pad: Colour, paint: Colour) -> None:
    canvas.frame(-0.97, -0.97, 0.97, 0.97, shade(pad, 0.62), 0.04)  # fence
    canvas.turn(90 * int(rng.integers(2)) + rng.uniform(-4, 4))
    width, length = 0.52, 0.84
    canvas.rect(-width, -length, width, length, paint)
    line = WHITE if sum(paint) < 690 else (40, 70, 60)  # a white court is lined in dark
    canvas.frame(-width, -length, width, length, line, 0.05)
    canvas.line([(-width, 0), (width, 0)], line, 0.05)
    if rng.random() < 0.5:  # tennis
        for x in (-0.38, 0.38):
            canvas.line([(x, -length), (x, length)], line, 0.035)
        for y in (-0.42, 0.42):
            canvas.line([(-0.38, y), (0.38, y)], line, 0.035)
        canvas.line([(0, -0.42), (0, 0.42)], line, 0.035)
    else:  # basketball
        canvas.circle(0, 0, 0.18, line)
        canvas.circle(0, 0, 0.14, paint)
        for side in (-1, 1):
            canvas.frame(-0.2, side * length, 0.2, side * 0.46, line, 0.035)


def vehicle(canvas: Canvas, rng: np.random.Generator, pad: Colour, paint: Colour) -> None:
    canvas.turn(90 * int(rng.integers(4)))
    for x in (-0.62, 0.62):  # the bay
        canvas.line([(x, -0.8), (x, 0.8)], (206, 206, 202), 0.06)
    canvas.line([(-1.5, 0.8), (1.5, 0.8)], (206, 206, 202), 0.06)
    canvas.dashes((-1.4, -0.93), (1.4, -0.93), (226, 192, 70), 0.05, 0.25, 0.2)
    canvas.turn(float(np.degrees(np.arctan2(canvas.sin, canvas.cos))) + rng.uniform(-6, 6))
    _vehicle_body(canvas, pad, paint)


def _vehicle_body(canvas: Canvas, pad: Colour, paint: Colour) -> None:
    body = _mirrored([(0.22, -0.74), (0.3, -0.66), (0.33, 0), (0.31, 0.66), (0.24, 0.72)])
    canvas.polygon(body, shade(pad, 0.4), shift=0.08)
    for y in (-0.42, 0.46):  # wheels
        canvas.rect(-0.36, y - 0.11, 0.36, y + 0.11, (20, 20, 22))
    canvas.polygon(body, paint)
    canvas.polygon([(-0.25, -0.3), (0.25, -0.3), (0.2, -0.1), (-0.2, -0.1)], GLASS)
    canvas.polygon([(-0.2, 0.38), (0.2, 0.38), (0.25, 0.54), (-0.25, 0.54)], GLASS)
    canvas.rect(-0.2, -0.08, 0.2, 0.36, shade(paint, 1.12))
    for x in (-0.2, 0.2):
        canvas.rect(x - 0.06, -0.74, x + 0.06, -0.68, (255, 250, 210))


def bridge(canvas: Canvas, rng: np.random.Generator, pad: Colour, paint: Colour) -> None:
    canvas.turn(90 * int(rng.integers(2)) + rng.uniform(-8, 8))
    for side in (-1, 1):
        canvas.rect(side * 0.66, -2, side * 2, 2, (112, 150, 74))
        canvas.rect(side * 0.62, -2, side * 0.7, 2, (206, 190, 142))
    for _ in range(12):
        x, y = rng.uniform(-0.5, 0.4), rng.uniform(-1.2, 1.2)
        canvas.line([(x, y), (x + 0.02, y + 0.25)], shade(pad, 1.14), 0.03)
    canvas.rect(-0.82, -0.42, 0.82, 0.42, shade(pad, 0.55), shift=0.12)
    canvas.rect(-0.84, -0.42, 0.84, 0.42, paint)
    canvas.rect(-2, -0.13, 2, 0.13, (84, 84, 88))
    canvas.dashes((-1.4, 0), (1.4, 0), WHITE, 0.03, 0.16, 0.12)
    for side in (-1, 1):
        canvas.line([(-0.84, side * 0.42), (0.84, side * 0.42)], shade(paint, 0.7), 0.04)
        for x in np.arange(-0.7, 0.71, 0.35):  # girders
            canvas.line([(x, side * 0.15), (x, side * 0.42)], shade(paint, 0.6), 0.04)


def _mirrored(right: list[Point]) -> list[Point]:
    """An outline from its right half, given from the bow to the stern."""
    return right + [(-x, y) for x, y in reversed(right)]


THINGS = {
    "plane": plane,
    "ship": ship,
    "storage tank": storage_tank,
    "court": court,
    "vehicle": vehicle,
    "bridge": bridge,
}
BODIES = {"plane": _plane_body, "ship": _ship_body, "vehicle": _vehicle_body}
