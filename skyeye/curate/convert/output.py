"""What writers of all formats share: how images are named, what is lost, and the list of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from skyeye.config.schema import SourceConfig
from skyeye.curate.convert.images import CopiedImages, NamedImages, root_of
from skyeye.curate.target import Target
from skyeye.data.files import whole_file
from skyeye.data.formats.base.problems import Problem

LISTED = "lost.log"
Progress = Callable[[int, int], None]


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


class Output:
    """What is written of any format: how images are named, what is lost, and the list of that."""

    def __init__(self, folder: Path, target: Target, copy_images: bool):
        self.folder = folder
        root = root_of(target.sources.values())
        self.copied = CopiedImages(root, folder) if copy_images else None
        self.named = NamedImages(root)
        self.told = Converted(root if self.copied is None else ".")
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        self._log = self.stack.enter_context(whole_file(self.folder / LISTED))
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self.close()
        self.stack.close()
        if not self.told.lost:
            (self.folder / LISTED).unlink()

    def close(self) -> None:
        """Write what stands at the end of the files."""
        raise NotImplementedError

    def add_source(self, source: SourceConfig, name: str, progress: Progress | None) -> None:
        """Write everything of a source."""
        raise NotImplementedError

    def image(self, reference: str, where: str, file: str) -> str:
        """What a file calls an image.

        Raises:
            BadRecord: it has no name there.
        """
        if self.copied is not None:
            name, lost = self.copied.name(reference, where, file.rpartition("/")[0] + "/" if "/" in file else "")
        else:
            name, lost = self.named.name(reference, where)
        if lost is not None:
            self.lose("bands and stretch", where, f"{lost}; --copy-images writes the picture as it is shown")
        return name

    def skip(self, problem: Problem) -> None:
        """Count what a reader did not take."""
        self.told.skipped[problem.kind] += problem.count

    def lose(self, kind: str, where: str, what: str) -> None:
        """Count and list something that is lost."""
        self.told.lost[kind] += 1
        self.told.first.setdefault(kind, f"{where}: {what}")
        self._log.write(f"{kind}\t{where}\t{what}\n".encode("utf-8", "backslashreplace"))
