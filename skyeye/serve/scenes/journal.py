"""What has been answered about a scene, on disk as it is answered: a run that was killed goes on where it was.

A journal is a folder with one file for each process of the run. Its first line says what was asked of what; every other
one holds the answers about one *chunk* of windows and is written at once. Half a line, of a process that was killed in
writing, is cut off. The windows of a chunk are always asked together, before and after a kill, so that their answers
are the same to the last bit.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyeye.data.files import cannot_be_written
from skyeye.data.locks import NO_LOCKS, lock_file, unlock
from skyeye.errors import SkyEyeError
from skyeye.serve.scenes.answers import Said


@dataclass(frozen=True)
class Chunk:
    """What became of some windows.

    Attributes:
        answers: window -> the answers to all turns.
        empty: windows without data, which were not asked.
        unreadable: window -> why its pixels could not be read. They are tried again when the run is started again.
    """

    answers: dict[int, list[Said]]
    empty: tuple[int, ...] = ()
    unreadable: tuple[tuple[int, str], ...] = ()

    def to_line(self, number: int) -> str:
        """As a line of a journal."""
        answers = {str(window): [said.to_json() for said in each] for window, each in self.answers.items()}
        line = {"chunk": number, "answers": answers, "empty": self.empty, "unreadable": self.unreadable}
        return json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: dict[str, Any]) -> Chunk:
        """The reverse of :meth:`to_line`."""
        answers = {int(window): [Said.from_json(entry) for entry in each] for window, each in line["answers"].items()}
        return cls(answers, tuple(line["empty"]), tuple((window, why) for window, why in line["unreadable"]))


class Journal:
    """The chunks of one scene that have been answered.

    Args:
        folder: for this scene and nothing else; it is made.
        head: what is asked of what; JSON.
        rank: of this process, whose chunks go to a file of their own.
        retry: chunks in which a window could not be read are to be read again.

    Attributes:
        done: number of a chunk -> what became of it.

    Raises:
        SkyEyeError: the folder holds answers to something else, or another process writes to it.
    """

    def __init__(self, folder: Path, head: dict[str, Any], rank: int = 0, retry: bool = True):
        self.folder, self.head, self.rank = folder, json.loads(json.dumps(head)), rank
        self._file = folder / f"{rank}.jsonl"
        self.done: dict[int, Chunk] = {}
        self._read: dict[Path, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder / f"{rank}.lock")
            _cut_half_a_line(self._file)
            self.update()
            if retry:
                self.done = {number: chunk for number, chunk in self.done.items() if not chunk.unreadable}
            if not self._file.exists() or not self._file.stat().st_size:
                self._append(json.dumps(self.head) + "\n")
        except OSError as error:
            raise cannot_be_written(error, folder) from error

    def add(self, number: int, chunk: Chunk) -> None:
        """Write down what became of a chunk."""
        self._append(chunk.to_line(number))
        self.done[number] = chunk

    def update(self) -> None:
        """Read what other processes have written since."""
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            for line in whole.splitlines():
                self._take(line, path)
            self._read[path] = self._read.get(path, 0) + len(whole)

    @property
    def windows(self) -> int:
        """Windows of which it is known what became of them."""
        return sum(len(each.answers) + len(each.empty) + len(each.unreadable) for each in self.done.values())

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Delete the folder: everything that came of it has been written."""
        self.close()
        for path in self.folder.iterdir():
            path.unlink(missing_ok=True)
        self.folder.rmdir()

    def _take(self, line: bytes, path: Path) -> None:
        try:
            content = json.loads(line)
            if "chunk" in content:
                self.done[content["chunk"]] = Chunk.from_line(content)
                return
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # as a loss of power leaves a line: what it held is asked again
        if content != self.head:
            other = ", ".join(sorted(key for key in {*self.head, *content} if self.head.get(key) != content.get(key)))
            what = f"holds answers of another run (other {other})"
            raise SkyEyeError(what, where=str(path.parent), remedy="remove it to start over, or write to another place")

    def _append(self, line: str) -> None:
        with self._file.open("ab") as file:
            file.write(line.encode())
        self._read[self._file] = self._file.stat().st_size


def _locked(path: Path) -> int | None:
    try:
        handle, holder = lock_file(path)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    if holder is not None:
        os.close(handle)
        remedy = "wait for it, or write to another place"
        raise SkyEyeError(f"is written by another run ({holder})", where=str(path.parent), remedy=remedy)
    return handle


def _cut_half_a_line(path: Path) -> None:
    if path.exists():
        with path.open("rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
