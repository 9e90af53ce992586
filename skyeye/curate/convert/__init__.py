"""``skyeye data convert``: records as other trainers read them, and what is lost on the way."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from skyeye.curate.convert.images import CopiedImages, NamedImages, root_of
from skyeye.curate.convert.layouts import LAYOUTS, Item, Layout
from skyeye.curate.convert.losses import losses
from skyeye.curate.target import Target
from skyeye.data.files import cannot_be_written, whole_file, write_json
from skyeye.data.formats import iter_source
from skyeye.data.formats.base.problems import BadRecord, Problem, image_size, suggest
from skyeye.data.formats.instructions.beside import COLUMN, beside, with_beside
from skyeye.data.formats.instructions.dialects import record_of
from skyeye.data.geometry.box_text import DETECTED, NOTATIONS, BoxNotation, Size, notation
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

LISTED = "lost.log"
COCO = "coco"
FORMATS = (*LAYOUTS, COCO)


@dataclass
class Converted:
    """What was written.

    Attributes:
        files: file below the folder -> records (of COCO: objects) in it.
        lost: kind of loss -> records it concerns; every one stands in ``lost.log``.
        first: kind -> the first of them.
        skipped: what the readers did not take, by kind.
        images: folder that the names of images are relative to.
    """

    images: str
    files: dict[str, int] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)


def convert(
    target: Target,
    out: str | Path,
    format: str,
    *,
    boxes: str | None = None,
    copy_images: bool = False,
    progress: Callable[[int, int], None] | None = None,
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
        if format == COCO:
            from skyeye.curate.convert.coco import write_coco

            return write_coco(target, folder, copy_images)
        writer = _Writer(LAYOUTS[format], folder, target, boxes, copy_images)
        with writer:
            for name, source in target.sources.items():
                for item in iter_source(source, name):
                    if isinstance(item, Problem):
                        writer.told.skipped[item.kind] += item.count
                    else:
                        writer.add(item)
                        if progress is not None:
                            progress(sum(writer.told.files.values()), 0)
        if not writer.told.files:
            first = next(iter(writer.told.first.values()), "it holds no record")
            raise SkyEyeError(f"nothing could be written: {first}", where=str(target.path))
        if format == "llama_factory":
            write_json(folder / "dataset_info.json", _dataset_info(out.name, writer.told.files), indent=2)
        return writer.told


def _check(target: Target, out: Path, format: str, boxes: str | None) -> None:
    if format not in FORMATS:
        raise SkyEyeError(f"unknown format {format!r}", where="--to", remedy=suggest(format, FORMATS))
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


class _Writer:
    """The open files of a layout."""

    def __init__(self, layout: Layout, folder: Path, target: Target, boxes: str | None, copy_images: bool):
        self.layout, self.folder = layout, folder
        name = boxes or layout.boxes
        self.notation: BoxNotation | None = None if name is None else notation(name)
        self.copied = CopiedImages(root_of(target.sources.values()), folder) if copy_images or layout.copies else None
        self.named = NamedImages(root_of(target.sources.values()))
        self.told = Converted(self.named.root if self.copied is None else ".")
        self._files: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> _Writer:
        self._log = self._stack.enter_context(whole_file(self.folder / LISTED))
        return self

    def __exit__(self, *error: Any) -> None:
        for name, file in self._files.items():
            if name.endswith(".json"):
                file.write(b"\n]\n")
        self._stack.close()
        if not self.told.lost:
            (self.folder / LISTED).unlink()

    def add(self, record: Record) -> None:
        """Write one record, and note what it lost."""
        where = record.where or record.id
        file = self.layout.file.format(split=record.split)
        try:
            names = [self._image(image, where, file) for image in record.images]
            item = self.layout.item(record, names, self.notation, self._size(record, where))
        except BadRecord as error:
            self._lose(f"not written: {error.kind}", where, error.what)
            return
        self._compare(record, item, where)
        self._write(file, item)

    def _image(self, reference: str, where: str, file: str) -> str:
        if self.copied is not None:
            name, lost = self.copied.name(reference, where, file.rpartition("/")[0] + "/" if "/" in file else "")
        else:
            name, lost = self.named.name(reference, where)
        if lost is not None:
            self._lose("bands and stretch", where, f"{lost}; --copy-images writes the picture as it is shown")
        return name

    def _size(self, record: Record, where: str) -> Size | None:
        """Of the image, where a box is written that needs it."""
        if self.notation is None or not (self.notation.needs_size or self.notation.angle):
            return None
        if not record.images or not any(turn.mentions for turn in record.turns):
            return (1, 1)
        return image_size(record.images[0], where)

    def _compare(self, record: Record, item: Item, where: str) -> None:
        """Read the object back, put beside it what it has no place for, and note what is still lost."""
        written = self.notation.name if self.notation is not None else "auto"
        boxes = "auto" if written in DETECTED else written  # as who reads it without knowing more does
        names = item.get("images") or item.get("file_names") or _list(item.get("image"))
        find = dict(zip(names, record.images, strict=True))
        try:
            plain = record_of(
                item, where, boxes, lambda name, _: find[name], id="", source="", split=record.split, task=None
            )
            item[COLUMN] = beside(record, plain)
            back = with_beside(plain, item[COLUMN], where)
        except (BadRecord, KeyError) as error:
            self._lose("cannot be read back", where, str(error))
            return
        for kind, what in losses(record, back):
            self._lose(kind, where, what)

    def _write(self, file: str, item: Item) -> None:
        if file not in self._files:
            self._files[file] = self._stack.enter_context(whole_file(self.folder / file))
            self.told.files[file] = 0
        line = json.dumps(item, ensure_ascii=False).encode("utf-8", "backslashreplace")
        if file.endswith(".json"):
            line = (b",\n" if self.told.files[file] else b"[\n") + line
        else:
            line += b"\n"
        self._files[file].write(line)
        self.told.files[file] += 1

    def _lose(self, kind: str, where: str, what: str) -> None:
        self.told.lost[kind] += 1
        self.told.first.setdefault(kind, f"{where}: {what}")
        self._log.write(f"{kind}\t{where}\t{what}\n".encode("utf-8", "backslashreplace"))


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
    if told.images != "." and setting:
        lines.append(f"images are named relative to {told.images} ({setting} there, --images here)")
    return "\n".join(lines)


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [] if value is None else [value]


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
