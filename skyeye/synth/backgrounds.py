"""The eight grounds, seen from above; each is a scene class and shows no object of any kind in ``scene.KINDS``.

Every function takes a generator and a size in pixels and returns float32 colours, (size, size, 3), 0..255.
Lengths on a canvas are fractions of the image side, with the origin at its centre.
"""

from __future__ import annotations

import math

import numpy as np

from skyeye.synth.canvas import Canvas, Colour, crowns, jitter, noise, relief, shade, tint

REACH = 0.75  # half the diagonal of the image: a turned plan must reach this far to cover the corners


def draw_ground(name: str, rng: np.random.Generator, size: int) -> np.ndarray:
    return GROUNDS[name](rng, size)


def farmland(rng: np.random.Generator, size: int) -> np.ndarray:
    canvas = _plan(rng, size, (116, 112, 70))
    fields = [(-REACH, -REACH, REACH, REACH)]
    while fields:
        x1, y1, x2, y2 = fields.pop()
        width, height = x2 - x1, y2 - y1
        if max(width, height) > 0.42 or (max(width, height) > 0.26 and rng.random() < 0.5):
            cut = rng.uniform(0.38, 0.62)
            if width > height:
                fields += [(x1, y1, x1 + cut * width, y2), (x1 + cut * width, y1, x2, y2)]
            else:
                fields += [(x1, y1, x2, y1 + cut * height), (x1, y1 + cut * height, x2, y2)]
        else:
            _field(canvas, rng, x1 + 0.005, y1 + 0.005, x2 - 0.005, y2 - 0.005)
    return _array(canvas) * (1 + 0.06 * noise(rng, size, 9) + 0.03 * noise(rng, size, 60))[..., None]


def _field(canvas: Canvas, rng: np.random.Generator, x1: float, y1: float, x2: float, y2: float) -> None:
    green = ((126, 156, 66), (94, 134, 54), (142, 176, 88))
    crops = (*green, (206, 188, 104), (176, 172, 88), (160, 126, 78), (140, 108, 70))
    colour = jitter(rng, crops[rng.integers(len(crops))], 12)
    canvas.rect(x1, y1, x2, y2, colour)
    row = shade(colour, rng.choice([0.84, 0.9, 1.1]))
    spacing = rng.uniform(0.014, 0.03)
    if rng.random() < 0.5:
        for x in np.arange(x1 + spacing / 2, x2, spacing):
            canvas.line([(x, y1), (x, y2)], row, spacing * 0.4)
    else:
        for y in np.arange(y1 + spacing / 2, y2, spacing):
            canvas.line([(x1, y), (x2, y)], row, spacing * 0.4)


def forest(rng: np.random.Generator, size: int) -> np.ndarray:
    height, tone = crowns(rng, size, 22)
    colours = tint((30, 66, 34), (74, 116, 54), 0.45 + 0.22 * tone + 0.22 * noise(rng, size, 5))
    depth = np.clip(0.62 + 0.5 * height, 0.45, 1.05)[..., None]  # dark between the crowns
    return colours * depth * relief(height * size / 36 + 0.25 * noise(rng, size, 90), 0.3)


def desert(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    turn = rng.uniform(0, math.pi)
    along = x * math.cos(turn) + y * math.sin(turn)
    ridges = np.sin(along * rng.uniform(26, 40) + 2.2 * noise(rng, size, 4) + 0.5 * noise(rng, size, 10))
    colours = tint((204, 164, 108), (236, 206, 152), 0.5 + 0.3 * ridges + 0.2 * noise(rng, size, 4))
    return colours * relief(ridges * size / 28 + 0.25 * noise(rng, size, 50), 0.1)


def river(rng: np.random.Generator, size: int) -> np.ndarray:
    """Meadows with trees and a broad winding river."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    turn = rng.uniform(0, math.pi)
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    bend = rng.uniform(0.08, 0.13) * np.sin(along * rng.uniform(6, 9) + rng.uniform(0, 6.3)) + rng.uniform(-0.12, 0.12)
    distance = np.abs(across - bend + 0.012 * noise(rng, size, 14))
    width = rng.uniform(0.11, 0.15)
    meadow = tint((104, 146, 62), (150, 178, 88), 0.5 + 0.35 * noise(rng, size, 6) + 0.2 * noise(rng, size, 40))
    height, tone = crowns(rng, size, 20)
    trees = (noise(rng, size, 7) > 0.7) & (height > 0.3)
    leaves = tint((46, 84, 40), (72, 112, 52), 0.5 + 0.4 * tone) * relief(height * size / 36, 0.3)
    meadow = np.where(trees[..., None], leaves, meadow)
    water = tint((40, 84, 100), (66, 122, 130), 0.4 + distance / width * 0.5 + 0.1 * noise(rng, size, 20))
    sand = np.array((206, 190, 142), np.float32) * (1 + 0.04 * noise(rng, size, 50))[..., None]
    banked = np.where((distance < width + 0.022)[..., None], sand, meadow)
    return np.where((distance < width)[..., None], water, banked)


def residential(rng: np.random.Generator, size: int) -> np.ndarray:
    canvas = _plan(rng, size, (128, 126, 124))
    deep, wide = rng.uniform(0.2, 0.24), rng.uniform(0.34, 0.5)
    for y in np.arange(-REACH - rng.uniform(0, deep), REACH, deep + 0.045):
        for x in np.arange(-REACH - rng.uniform(0, wide), REACH, wide + 0.045):
            canvas.rect(x, y, x + wide, y + deep, jitter(rng, (104, 132, 72), 10))
            for row in (y + deep * 0.27, y + deep * 0.73):
                for at in np.arange(x + 0.05, x + wide - 0.03, rng.uniform(0.085, 0.1)):
                    _house(canvas, rng, at, row + rng.uniform(-0.008, 0.008))
    return _array(canvas) * (1 + 0.05 * noise(rng, size, 70))[..., None]


def _house(canvas: Canvas, rng: np.random.Generator, x: float, y: float) -> None:
    roofs = ((176, 84, 58), (158, 74, 54), (192, 110, 78), (122, 104, 96), (140, 92, 70))
    roof = jitter(rng, roofs[rng.integers(len(roofs))], 12)
    w, h = rng.uniform(0.026, 0.034), rng.uniform(0.024, 0.034)
    canvas.rect(x - w, y - h, x + w, y + h, (58, 70, 48), shift=0.012)
    canvas.rect(x - w, y - h, x + w, y, shade(roof, 1.12))
    canvas.rect(x - w, y, x + w, y + h, shade(roof, 0.82))
    if rng.random() < 0.6:
        tree_x, tree_y, crown = x + 0.045, y + rng.uniform(-0.03, 0.03), rng.uniform(0.009, 0.015)
        canvas.circle(tree_x, tree_y, crown, (44, 68, 38), shift=0.005)
        canvas.circle(tree_x, tree_y, crown, jitter(rng, (72, 110, 54), 12))


def industrial(rng: np.random.Generator, size: int) -> np.ndarray:
    canvas = _plan(rng, size, (112, 112, 116))
    wide, deep = rng.uniform(0.36, 0.46), rng.uniform(0.28, 0.36)
    for y in np.arange(-REACH - rng.uniform(0, deep), REACH, deep + 0.06):
        canvas.dashes((-REACH, y - 0.03), (REACH, y - 0.03), (214, 212, 196), 0.006, 0.03, 0.03)
        for x in np.arange(-REACH - rng.uniform(0, wide), REACH, wide + 0.06):
            canvas.rect(x, y, x + wide, y + deep, jitter(rng, (158, 154, 148), 8))
            cut = x + wide * rng.uniform(0.35, 0.65)
            for left, right in ((x, cut), (cut, x + wide)):
                _hall(canvas, rng, left + 0.015, y + 0.02, right - 0.015, y + deep - rng.uniform(0.02, 0.08))
    return _array(canvas) * (1 + 0.04 * noise(rng, size, 12) + 0.03 * noise(rng, size, 80))[..., None]


def _hall(canvas: Canvas, rng: np.random.Generator, x1: float, y1: float, x2: float, y2: float) -> None:
    roofs = ((204, 206, 208), (176, 182, 190), (140, 150, 162), (190, 180, 168), (164, 160, 158))
    roof = jitter(rng, roofs[rng.integers(len(roofs))], 8)
    canvas.rect(x1, y1, x2, y2, (70, 70, 74), shift=0.014)
    canvas.rect(x1, y1, x2, y2, roof)
    for y in np.arange(y1 + 0.012, y2 - 0.004, 0.022):
        canvas.line([(x1, y), (x2, y)], shade(roof, 0.88), 0.006)
    canvas.frame(x1, y1, x2, y2, shade(roof, 0.78), 0.005)
    for x in np.arange(x1 + 0.03, x2 - 0.03, 0.05):
        y = rng.uniform(y1 + 0.02, y2 - 0.03)
        canvas.rect(x, y, x + 0.016, y + 0.016, (96, 100, 106), shift=0.004)
        canvas.rect(x, y, x + 0.016, y + 0.016, (226, 228, 230))


def airport(rng: np.random.Generator, size: int) -> np.ndarray:
    canvas = _plan(rng, size, (134, 150, 92))
    for index, x in enumerate(np.arange(-REACH, REACH, 0.07)):
        if index % 2:
            canvas.rect(x, -REACH, x + 0.07, REACH, (146, 162, 102))
    runway = rng.uniform(-0.3, 0.05)
    taxiway = runway + rng.uniform(0.26, 0.34)
    for x in np.arange(-REACH + rng.uniform(0, 0.4), REACH, 0.5):
        canvas.rect(x - 0.028, runway, x + 0.028, taxiway, (138, 138, 136))
        canvas.line([(x, runway), (x, taxiway)], (206, 178, 70), 0.006)
    canvas.rect(-REACH, taxiway - 0.035, REACH, taxiway + 0.035, (138, 138, 136))
    canvas.line([(-REACH, taxiway), (REACH, taxiway)], (206, 178, 70), 0.007)
    canvas.rect(-REACH, runway - 0.085, REACH, runway + 0.085, (84, 84, 88))
    for edge in (runway - 0.076, runway + 0.076):
        canvas.line([(-REACH, edge), (REACH, edge)], (224, 224, 220), 0.007)
    canvas.dashes((-REACH + rng.uniform(0, 0.1), runway), (REACH, runway), (232, 232, 228), 0.012, 0.07, 0.05)
    threshold = rng.uniform(-0.35, 0.35)
    for y in np.arange(runway - 0.062, runway + 0.06, 0.02):
        canvas.rect(threshold - 0.05, y, threshold + 0.05, y + 0.01, (232, 232, 228))
    return _array(canvas) * (1 + 0.05 * noise(rng, size, 12) + 0.03 * noise(rng, size, 80))[..., None]


def harbor(rng: np.random.Generator, size: int) -> np.ndarray:
    """Dark water, a quay with stacked containers and piers."""
    water: Colour = (28, 62, 84)
    canvas = _plan(rng, size, water)
    quay = rng.uniform(0.05, 0.2)
    for x in np.arange(-REACH + rng.uniform(0, 0.2), REACH, rng.uniform(0.38, 0.48)):
        _pier(canvas, rng, x, -REACH, x + rng.uniform(0.1, 0.14), quay)
    _pier(canvas, rng, -REACH, quay, REACH, REACH)
    ripples = 1 + 0.05 * noise(rng, size, 22, stretch=3) + 0.04 * noise(rng, size, 90, stretch=2)
    return _array(canvas) * ripples[..., None]


def _pier(canvas: Canvas, rng: np.random.Generator, x1: float, y1: float, x2: float, y2: float) -> None:
    canvas.rect(x1, y1, x2, y2, (14, 34, 48), shift=0.012)
    canvas.rect(x1, y1, x2, y2, (172, 168, 158))
    canvas.frame(x1, y1, x2, y2, (120, 116, 110), 0.008)
    stacks = ((138, 84, 70), (84, 100, 122), (150, 140, 116), (106, 122, 112), (126, 104, 92))
    for y in np.arange(y1 + 0.025, y2 - 0.03, 0.034):
        for x in np.arange(x1 + 0.022, x2 - 0.06, 0.068):
            if rng.random() < 0.75:
                box = jitter(rng, stacks[rng.integers(len(stacks))], 12)
                canvas.rect(x, y, x + 0.056, y + 0.022, (86, 84, 80), shift=0.006)
                canvas.rect(x, y, x + 0.056, y + 0.022, box)


def _plan(rng: np.random.Generator, size: int, fill: Colour) -> Canvas:
    return Canvas(size, size, fill, unit=size, angle=rng.uniform(0, 360), oversample=2)


def _array(canvas: Canvas) -> np.ndarray:
    return np.asarray(canvas.finish(), np.float32)


GROUNDS = {
    "farmland": farmland,
    "forest": forest,
    "desert": desert,
    "river": river,
    "residential": residential,
    "industrial": industrial,
    "airport": airport,
    "harbor": harbor,
}
