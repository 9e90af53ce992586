"""From a scene to pixels, with Pillow and numpy only."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from skyeye.synth.backgrounds import draw_ground
from skyeye.synth.canvas import Canvas, Colour, jitter, noise, shade
from skyeye.synth.objects import PADS, draw_mover, draw_thing
from skyeye.synth.scene import BoxTuple, Clip, Scene

HEADINGS = {"right": 0.0, "down": 90.0, "left": 180.0, "up": 270.0}
STRIP_LINES = {"plane": (232, 232, 228), "vehicle": (226, 192, 70)}


def draw_scene(scene: Scene, rng: np.random.Generator, size: int) -> Image.Image:
    """An RGB picture of (size, size) pixels."""
    picture = _to_image(draw_ground(scene.ground, rng, size))
    for thing in scene.things:
        x1, y1, x2, y2 = _pixels(thing.box, size)
        _paste(picture, draw_thing(thing.kind, thing.colour, rng, x2 - x1, y2 - y1), x1, y1)
    return _expose(picture, rng, size)


def draw_clip(clip: Clip, rng: np.random.Generator, size: int) -> list[Image.Image]:
    """The frames of a sequence: the same ground and strip, the object further along in each."""
    ground = _to_image(draw_ground(clip.ground, rng, size))
    pad = jitter(rng, PADS[clip.kind], 7)
    x1, y1, x2, y2 = _pixels(clip.boxes[0], size)
    strip = (x1, 0, x2, size) if clip.vertical else (0, y1, size, y2)
    draw = ImageDraw.Draw(ground)
    draw.rectangle((strip[0] - 2, strip[1] - 2, strip[2] + 1, strip[3] + 1), shade(pad, 0.7))
    draw.rectangle((strip[0], strip[1], strip[2] - 1, strip[3] - 1), pad)
    if clip.kind in STRIP_LINES:
        _centre_line(draw, strip, STRIP_LINES[clip.kind], size)
    heading = HEADINGS.get(clip.motion, 270.0 if clip.vertical else 0.0)
    seed = int(rng.integers(2**31))  # every frame has the same paint and grain
    frames = []
    for box in clip.boxes:
        frame, again = ground.copy(), np.random.default_rng(seed)
        x1, y1, x2, y2 = _pixels(box, size)
        canvas = Canvas(x2 - x1, y2 - y1, pad, unit=min(x2 - x1, y2 - y1) / 2)
        draw_mover(clip.kind, canvas, again, pad, clip.colour, heading)
        frame.paste(canvas.finish(), (x1, y1))
        frames.append(_expose(frame, again, size))
    return frames


def _centre_line(draw: ImageDraw.ImageDraw, strip: tuple[int, int, int, int], colour: Colour, size: int) -> None:
    dash, half = size // 12, max(1, size // 110)
    for at in range(0, size, dash * 2):
        if strip[1] == 0:
            middle = (strip[0] + strip[2]) // 2
            draw.rectangle((middle - half, at, middle + half - 1, at + dash), colour)
        else:
            middle = (strip[1] + strip[3]) // 2
            draw.rectangle((at, middle - half, at + dash, middle + half - 1), colour)


def _paste(picture: Image.Image, tile: Image.Image, x: int, y: int) -> None:
    """Put a pad down with rounded corners."""
    width, height = tile.size
    mask = Image.new("L", (width * 2, height * 2), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, width * 2 - 1, height * 2 - 1), min(width, height) // 6, 255)
    picture.paste(tile, (x, y), mask.reduce(2))


def _expose(picture: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
    """Uneven light, a camera's grain and softness."""
    soft = picture.filter(ImageFilter.GaussianBlur(size * 0.0018))
    light = rng.uniform(0.9, 1.08) * (1 + 0.035 * noise(rng, size, 3))
    grain = rng.normal(0.0, 3.0, (size, size)).astype(np.float32)
    return _to_image(np.asarray(soft, np.float32) * light[..., None] + grain[..., None])


def _pixels(box: BoxTuple, size: int) -> tuple[int, int, int, int]:
    return tuple(round(edge * size) for edge in box)  # type: ignore[return-value]


def _to_image(colours: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
