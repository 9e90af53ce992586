"""``skyeye data convert``: records as other trainers read them, and what is lost on the way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from skyeye.curate.convert.coco import CocoWriter
from skyeye.curate.convert.layouts import LAYOUTS
from skyeye.curate.convert.output import LISTED, Converted, Output, Progress
from skyeye.curate.convert.parquet import ParquetWriter, check_pyarrow
from skyeye.curate.convert.records import RecordWriter
from skyeye.curate.target import Target
from skyeye.data.files import cannot_be_written, write_json
from skyeye.data.formats.base.problems import suggest
from skyeye.data.geometry.box_text import NOTATIONS
from skyeye.errors import SkyEyeError

COCO, PARQUET = "coco", "hf_parquet"
FORMATS = (*LAYOUTS, COCO)


def convert(
    target: Target,
    out: str | Path,
    format: str,
    *,
    boxes: str | None = None,
    copy_images: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Write the records of a target in another layout, a file a split, one record at a time.

    Every record is read back as it was written; what differs is counted and listed in ``lost.log``.

    Args:
        out: folder to write, new or empty; it is there when all of it is.
        format: one of :data:`FORMATS`.
        boxes: the notation of boxes in texts, instead of that of the layout.
        copy_images: write the images beside the files, too, instead of naming them where they lie.
        progress: called with (records written, 0).

    Raises:
        SkyEyeError: unknown format or notation, something lies at ``out``, or nothing could be written.
    """
    out = Path(out)
    _check(target, out, format, boxes)
    with _whole_folder(out) as folder:
        writer: Output
        if format == COCO:
            writer = CocoWriter(folder, target, copy_images)
        elif format == PARQUET:
            writer = ParquetWriter(LAYOUTS[format], folder, target, boxes, copy_images)
        else:
            writer = RecordWriter(LAYOUTS[format], folder, target, boxes, copy_images)
        with writer:
            for name, source in target.sources.items():
                writer.add_source(source, name, progress)
        told = writer.told
        if not sum(told.files.values()):
            first = next(iter(told.first.values()), "it holds no object" if format == COCO else "it holds no record")
            raise SkyEyeError(f"nothing could be written: {first}", where=str(target.path))
        if format == "llama_factory":
            write_json(folder / "dataset_info.json", _dataset_info(out.name, told.files), indent=2)
        return told


def _check(target: Target, out: Path, format: str, boxes: str | None) -> None:
    if format not in FORMATS:
        raise SkyEyeError(f"unknown format {format!r}", where="--to", remedy=suggest(format, FORMATS))
    if format == PARQUET:
        check_pyarrow()
    if boxes is not None and boxes not in NOTATIONS:
        raise SkyEyeError(f"unknown notation {boxes!r}", where="--boxes", remedy=suggest(boxes, list(NOTATIONS)))
    if boxes is not None and (format == COCO or LAYOUTS[format].boxes is None):
        raise SkyEyeError(f"{format} has boxes as numbers, not in its texts", where="--boxes", remedy="leave it out")
    if not target.sources:
        raise SkyEyeError(
            "holds pictures without annotations", where=str(target.path), remedy="there is nothing to write"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SkyEyeError("exists already", where=str(out), remedy="choose a new folder")


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A folder under a temporary name, which gets its own when all of it is written; else nothing is left of it."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        with suppress(FileNotFoundError):
            out.rmdir()  # it is empty
        os.replace(partial, out)
    except OSError as error:
        raise cannot_be_written(error, out) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def format_text(told: Converted, out: Path, format: str) -> str:
    """What was written, what is lost, and where the images are, in words."""
    unit = "objects" if format == COCO else "records"
    lines = [f"{out / file}: {count} {unit}" for file, count in told.files.items()]
    if told.lost:
        lines.append(f"lost or changed, each listed in {out / LISTED}:")
        lines += [f"  {count} x {kind}: {told.first[kind]}" for kind, count in told.lost.most_common()]
    else:
        lines.append("nothing is lost: read back, every record is equal")
    if told.skipped.total():
        skipped = ", ".join(f"{count} {kind}" for kind, count in told.skipped.most_common())
        lines.append(f"not read from the source: {skipped}")
    setting = "" if format == COCO else LAYOUTS[format].image_setting
    if format == PARQUET:
        inside = "inside the table" if told.images == "." else f"named relative to {told.images} (--images here)"
        lines.append(f"images are {inside}")
    elif told.images != "." and setting:
        lines.append(f"images are named relative to {told.images} ({setting} there, --images here)")
    return "\n".join(lines)


def _dataset_info(name: str, files: dict[str, int]) -> dict[str, Any]:
    """What LLaMA-Factory is to know of the files."""
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    return {
        f"{name}_{file.partition('.')[0]}": {
            "file_name": file,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": {**tags, "system_tag": "system"},
        }
        for file in files
    }
