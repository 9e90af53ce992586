"""COCO detection JSON: the objects of the pictures. Questions, captions and conversations have no place in it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from skyeye.config.schema import SourceConfig
from skyeye.curate.convert.output import Output, Progress
from skyeye.curate.objects import iter_annotated
from skyeye.curate.target import Target
from skyeye.data.files import whole_file
from skyeye.data.formats.base.problems import BadRecord, Problem, image_size
from skyeye.data.formats.detection.base import Annotated, Labelled, class_words


class CocoWriter(Output):
    """The file of each split, written as pictures come: annotations wait in a file of their own."""

    def __init__(self, folder: Path, target: Target, copy_images: bool):
        super().__init__(folder, target, copy_images)
        self._pictures: dict[str, int] = {}
        self._files: dict[str, tuple[BinaryIO, BinaryIO]] = {}
        self._categories: dict[str, int] = {}

    def add_source(self, source: SourceConfig, name: str, progress: Progress | None) -> None:
        """Write the pictures of a source with their objects."""
        for item in iter_annotated(source, name):
            if isinstance(item, Problem):
                self.skip(item)
                continue
            try:
                self._add(item)
            except BadRecord as error:
                self.lose(f"not written: {error.kind}", item.where, error.what)
            if progress is not None:
                progress(sum(self._pictures.values()), 0)

    def close(self) -> None:
        """Put the annotations and categories behind the pictures."""
        named = [{"id": number, "name": name} for name, number in self._categories.items()]
        for file, waiting in self._files.values():
            file.write(b'\n],\n"annotations": [\n')
            waiting.seek(0)
            shutil.copyfileobj(waiting, file)
            file.write(b'\n],\n"categories": ' + json.dumps(named, ensure_ascii=False).encode() + b"}\n")

    def _add(self, picture: Annotated) -> None:
        name = f"{picture.split}.json"
        called = self.image(picture.image, picture.where, name)
        width, height = image_size(picture.image, picture.where)
        file, waiting = self._opened(name)
        number = self._pictures[name] = self._pictures[name] + 1
        entry = {"id": number, "file_name": called, "width": width, "height": height}
        _write(file, entry, first=number == 1)
        for labelled in picture.objects:
            self.told.files[name] += 1
            annotation = self._annotation(labelled, width, height)
            _write(
                waiting,
                {"id": self.told.files[name], "image_id": number, **annotation},
                first=self.told.files[name] == 1,
            )

    def _opened(self, name: str) -> tuple[BinaryIO, BinaryIO]:
        if name not in self._files:
            file = self.stack.enter_context(whole_file(self.folder / name))
            file.write(b'{"images": [\n')
            waiting = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  # the stack closes it
            self._files[name] = file, self.stack.enter_context(waiting)
            self._pictures[name] = self.told.files[name] = 0
        return self._files[name]

    def _annotation(self, labelled: Labelled, width: int, height: int) -> dict[str, Any]:
        x1, y1, x2, y2 = labelled.box.to_pixels(width, height)
        if class_words(labelled.name) != labelled.name:
            self.lose(
                "words of a class", labelled.where, f"{labelled.name!r} is read as {class_words(labelled.name)!r}"
            )
        if labelled.described:
            self.lose("phrases", labelled.where, f"{labelled.name!r} is written as a class")
        corners = []
        if labelled.polygon is not None:
            corners = [list(labelled.polygon.to_pixels(width, height))]
            self.lose("oriented boxes", labelled.where, "its corners are its segmentation, which is not read back")
        return {
            "category_id": self._categories.setdefault(labelled.name, len(self._categories) + 1),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": int(labelled.difficult),
            "segmentation": corners,
        }


def _write(file: BinaryIO, value: dict[str, Any], first: bool) -> None:
    text = json.dumps(value, ensure_ascii=False)
    file.write(("" if first else ",\n").encode() + text.encode("utf-8", "backslashreplace"))
