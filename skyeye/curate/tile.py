"""Large pictures cut into overlapping tiles that carry their boxes along, in this project's own format.

A tile is a PNG of ``size`` x ``size`` pixels (the last of a row or column is moved back to the border; a smaller
picture is one tile). An object belongs to a tile when at least ``keep`` of its area lies in it; its box is clipped, an
oriented one becomes the smallest rectangle around the part inside. Of an object with a smaller part in the tile that
part is written as ``difficult``: nothing is asked about it, and no expression claims that it is not there.

The result does not depend on the number of workers, and an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image

from skyeye.config.schema import SourceConfig
from skyeye.curate.objects import iter_annotated
from skyeye.data.files import cannot_be_written, check_new_folder, whole_file, write_whole
from skyeye.data.formats.base.image_folder import list_images
from skyeye.data.formats.base.problems import Problem
from skyeye.data.formats.detection.base import Annotated
from skyeye.data.formats.detection.windows import boxes_in
from skyeye.data.geometry.windows import windows
from skyeye.data.images.load import image_size
from skyeye.data.images.reference import add_details, parse_reference
from skyeye.data.images.stretch import parse_bands, parse_stretch
from skyeye.data.images.windowed import open_windows
from skyeye.errors import SkyEyeError

MAX_TILES = 100_000  # of one picture; a damaged header could ask for more than a disk holds
FILE = "tiles.jsonl"


@dataclass(frozen=True)
class Settings:
    """How pictures are cut.

    Attributes:
        size, overlap: of the tiles, in pixels.
        keep: share of an object's area that must lie in a tile.
        bands, stretch: of pictures that are not 8-bit RGB; see :mod:`skyeye.data.images.raster`.
    """

    size: int = 512
    overlap: int = 128
    keep: float = 0.5
    bands: str | None = None
    stretch: str | None = None

    def __post_init__(self):
        if not 16 <= self.size <= 8192:
            raise SkyEyeError(f"size {self.size} is not between 16 and 8192", where="--size")
        if not 0 <= self.overlap < self.size:
            what = f"overlap {self.overlap} is not between 0 and the size, {self.size}"
            raise SkyEyeError(what, where="--overlap", remedy=f"for instance --overlap {max(0, self.size // 4)}")
        if not 0 < self.keep <= 1:
            raise SkyEyeError(f"keep {self.keep} is not above 0 and at most 1", where="--keep")
        parse_bands(self.bands, "--bands")
        parse_stretch(self.stretch, "--stretch")


def tile(
    source: SourceConfig | Path,
    out: str | Path,
    settings: Settings | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Cut every picture of a source (or one picture, or all below a folder) and write ``out/tiles.jsonl``.

    Args:
        source: annotated pictures, or the path of pictures without annotation.
        workers: processes.
        progress: called with (pictures done, pictures).

    Returns:
        ``existed`` (nothing was left to do), ``pictures``, ``tiles``, ``objects`` (annotated), ``kept`` (boxes in
        tiles), ``cut`` (parts written as difficult), ``lost`` (objects that are in no tile with enough of their area),
        ``phrases`` (skipped: words for one object of the whole picture need not be true of a tile) and ``problems``.

    Raises:
        SkyEyeError: no picture, an unknown format, or ``out`` holds tiles of something else.
    """
    settings, out = settings or Settings(), Path(out)
    pictures, problems = _pictures(source)
    if not pictures:
        what = f"no picture to cut; the first problem: {problems[0]}" if problems else "no picture to cut"
        raise SkyEyeError(what, where=str(source if isinstance(source, Path) else source.path))
    plan = {"settings": asdict(settings), "pictures": len(pictures), "digest": _digest(pictures)}
    parts = out / "parts"
    existed = _continue(out, plan)
    names = _names(pictures)
    if not existed:
        (out / "images").mkdir(parents=True, exist_ok=True)
        parts.mkdir(exist_ok=True)
        jobs = [(picture, name, out, settings, workers) for picture, name in zip(pictures, names, strict=True)]
        try:
            for finished, _ in enumerate(_run(jobs, workers), start=1):
                if progress:
                    progress(finished, len(jobs))
        except OSError as error:
            raise cannot_be_written(error, out) from error
        counts: Counter[str] = Counter()
        failed: list[dict[str, str]] = []
        write_whole(out / FILE, _lines([parts / f"{name}.json" for name in names], counts, failed))
        write_whole(out / "tile.json", json.dumps({**plan, "counts": counts, "problems": failed}, indent=1))
        shutil.rmtree(parts)
    done = json.loads((out / "tile.json").read_text(encoding="utf-8"))
    told = {key: done["counts"].get(key, 0) for key in ("tiles", "objects", "kept", "cut", "lost", "phrases")}
    problems += [Problem(**problem) for problem in done["problems"]]
    return {"existed": existed, "pictures": len(pictures), **told, "problems": problems}


def _pictures(source: SourceConfig | Path) -> tuple[list[Annotated], list[Problem]]:
    if isinstance(source, Path):
        if source.is_dir():
            found = [(str(source / path), path.with_suffix("").as_posix()) for path in list_images(source)]
        else:
            found = [(str(source), source.stem)]
        return [Annotated(image, (), key, "train", image) for image, key in found], []
    pictures, problems = [], []
    for item in iter_annotated(source, "SRC"):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            pictures.append(item)
    return pictures, problems


def _names(pictures: list[Annotated]) -> list[str]:
    """File names of the pictures' tiles: their keys, with a checksum where a key is no file name or stands twice."""
    plain = [re.sub(r"[^A-Za-z0-9_.-]+", "_", picture.key)[:100].lstrip(".") for picture in pictures]
    often = Counter(name.lower() for name in plain)
    return [
        name if name == picture.key and often[name.lower()] == 1 else f"{name}-{_drawing_key(picture):08x}"
        for name, picture in zip(plain, pictures, strict=True)
    ]


def _drawing_key(picture: Annotated) -> int:
    return zlib.crc32(f"{picture.key}\n{picture.image}".encode("utf-8", "surrogatepass"))


def _digest(pictures: list[Annotated]) -> str:
    digest = hashlib.sha256()
    for picture in pictures:
        size = os.path.getsize(path) if os.path.exists(path := parse_reference(picture.image)[0]) else -1
        digest.update(f"{picture}\n{size}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _continue(out: Path, plan: dict[str, Any]) -> bool:
    """Whether ``out`` is finished; an unfinished one is gone on with when it was made for the same pictures."""
    file = out / "tile.json"
    if file.exists():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        if any(before.get(key) != value for key, value in plan.items()):
            raise SkyEyeError(
                "holds tiles of other pictures or other settings", where=str(out), remedy="give another OUT folder"
            )
        return (out / FILE).exists() and "counts" in before
    check_new_folder(out)
    if out.exists() and any(out.iterdir()):
        raise SkyEyeError("is not empty and holds no tiles", where=str(out), remedy="give another OUT folder")
    write_whole(file, json.dumps(plan, indent=1))
    return False


def _lines(parts: list[Path], counts: Counter[str], failed: list[dict[str, str]]) -> Iterator[str]:
    """The lines of all pictures, in their order; what the parts say besides is added up."""
    for part in parts:
        content = json.loads(part.read_text(encoding="utf-8"))
        counts.update(content["counts"])
        failed += content["problems"]
        yield from (line + "\n" for line in content["lines"])


def _run(jobs: list[tuple], workers: int) -> Iterator[None]:
    if workers <= 1:
        yield from map(_cut, jobs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(_cut, jobs)


def _cut(job: tuple[Annotated, str, Path, Settings, int]) -> None:
    """One picture: its tiles, then its part of the annotation, which says that it is done."""
    picture, name, out, settings, workers = job
    part = out / "parts" / f"{name}.json"
    if part.exists():
        return
    counts: Counter[str] = Counter(objects=len(picture.objects))
    lines, problems = [], []
    try:
        choice = {"bands": settings.bands, "stretch": settings.stretch}
        reference = add_details(picture.image, **{key: value for key, value in choice.items() if value is not None})
        width, height = image_size(reference)
        places = windows(width, height, settings.size, settings.overlap)
        if len(places) > MAX_TILES:
            raise SkyEyeError(f"would become {len(places)} tiles, more than {MAX_TILES}", where=picture.image)
        described = len(places) > 1
        objects = tuple(thing for thing in picture.objects if not (described and thing.described))
        counts["phrases"] = len(picture.objects) - len(objects)
        kept: set[int] = set()
        with open_windows(reference, workers) as reader:
            for window in places:
                pixels = reader.read(window).image
                file = f"images/{name}_{window[0]}_{window[1]}.png"
                _write_png(pixels, out / file)
                found = boxes_in(objects, width, height, window, settings.keep)
                kept.update(index for index, _, enough in found if enough)
                enough = sum(enough for *_, enough in found)
                counts.update(tiles=1, kept=enough, cut=len(found) - enough)
                line = {
                    "id": f"{name}_{window[0]}_{window[1]}",
                    "image": file,
                    "split": picture.split,
                    "width": pixels.width,
                    "height": pixels.height,
                    "unit": "pixels",
                    "boxes": [entry for _, entry, _ in found],
                }
                lines.append(json.dumps(line, ensure_ascii=False))
        counts["lost"] = len(objects) - len(kept)
    except SkyEyeError as error:
        lines, counts = [], Counter()
        problems.append({"kind": "unreadable image", "where": picture.where, "what": str(error)})
    write_whole(part, json.dumps({"lines": lines, "counts": counts, "problems": problems}))


def _write_png(picture: Image.Image, path: Path) -> None:
    with whole_file(path) as file:
        picture.save(file, "PNG", compress_level=6)
