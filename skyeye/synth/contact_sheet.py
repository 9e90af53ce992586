"""A contact sheet: the first pictures of a set on one page. ``python -m skyeye.synth.contact_sheet SCENES OUT.png``"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from skyeye.errors import SkyEyeError


def contact_sheet(scenes: str | Path, out: str | Path, n: int = 16, side: int = 168) -> None:
    """Paste the first ``n`` training pictures of ``scenes``, ``side`` pixels each, four in a row, into ``out``."""
    names = sorted((Path(scenes) / "images").glob("scene_*.jpg"))[:n]
    if not names:
        raise SkyEyeError(
            "holds no pictures of synthetic scenes", where=str(scenes), remedy="write one: skyeye data synth"
        )
    gap, columns = 4, 4
    rows = -(-len(names) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) + gap, rows * (side + gap) + gap), "white")
    for number, name in enumerate(names):
        with Image.open(name) as picture:
            small = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(small, (gap + number % columns * (side + gap), gap + number // columns * (side + gap)))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(out, optimize=True)


if __name__ == "__main__":
    contact_sheet(sys.argv[1], sys.argv[2])
