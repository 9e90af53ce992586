"""Records in a layout, each read back as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

from skyeye.config.schema import SourceConfig
from skyeye.curate.convert.layouts import Item, Layout
from skyeye.curate.convert.losses import losses
from skyeye.curate.convert.output import Output, Progress
from skyeye.curate.target import Target
from skyeye.data.files import whole_file
from skyeye.data.formats import iter_source
from skyeye.data.formats.base.problems import BadRecord, Problem, image_size
from skyeye.data.formats.instructions.beside import COLUMN, beside, with_beside
from skyeye.data.formats.instructions.dialects import record_of
from skyeye.data.geometry.box_text import DETECTED, BoxNotation, Size, notation
from skyeye.data.record import Record


class RecordWriter(Output):
    """The files of a layout of records."""

    def __init__(self, layout: Layout, folder: Path, target: Target, boxes: str | None, copy_images: bool):
        super().__init__(folder, target, copy_images or layout.copies)
        self.layout = layout
        name = boxes or layout.boxes
        self.notation: BoxNotation | None = None if name is None else notation(name)
        self._files: dict[str, BinaryIO] = {}

    def close(self) -> None:
        for name, file in self._files.items():
            if name.endswith(".json"):
                file.write(b"\n]\n")

    def add_source(self, source: SourceConfig, name: str, progress: Progress | None) -> None:
        """Write the records of a source."""
        for item in iter_source(source, name):
            if isinstance(item, Problem):
                self.skip(item)
                continue
            self.add(item)
            if progress is not None:
                progress(sum(self.told.files.values()), 0)

    def add(self, record: Record) -> None:
        """Write one record, and note what it lost."""
        where = record.where or record.id
        file = self.layout.file.format(split=record.split)
        try:
            names = [self.image(image, where, file) for image in record.images]
            item = self.layout.item(record, names, self.notation, self._size(record, where))
        except BadRecord as error:
            self.lose(f"not written: {error.kind}", where, error.what)
            return
        self._compare(record, item, where)
        self._write(file, item)

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
            self.lose("cannot be read back", where, str(error))
            return
        for kind, what in losses(record, back):
            self.lose(kind, where, what)

    def _write(self, file: str, item: Item) -> None:
        if file not in self._files:
            self._files[file] = self.stack.enter_context(whole_file(self.folder / file))
            self.told.files[file] = 0
        line = json.dumps(item, ensure_ascii=False).encode("utf-8", "backslashreplace")
        if file.endswith(".json"):
            line = (b",\n" if self.told.files[file] else b"[\n") + line
        else:
            line += b"\n"
        self._files[file].write(line)
        self.told.files[file] += 1


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [] if value is None else [value]
