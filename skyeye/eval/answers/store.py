"""Answers on disk while they are being given: by many processes that never wait for each other, through kills.

Every process appends to a file of its own, one line an answer: ``asked`` (which question), ``id``, ``answer`` (the
text), and where the answer has them ``boxes`` (lists of 4 or 8 fractions), ``scores`` of these, ``mask`` (height,
width, runs), ``embedding`` and ``told`` (of each token where it ends in the text, and its log-probability). Together
the files of a folder hold what has been answered. A question is the same as an earlier one when its words, its images
(by name and content) and the longest answer are; so an evaluation that was killed goes on where it was, with any number
of processes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from skyeye.data.files import check_new_folder
from skyeye.data.images.reference import MEMBER, parse_reference, read_bytes
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.boxes import box_of
from skyeye.eval.results import Answer, Mask
from skyeye.generation.certainty import Told

#: (records, longest answer in tokens) -> (index of a record, its answer), as they become ready.
AnswerFunction = Callable[[Sequence[Record], int], Iterator[tuple[int, Answer]]]

_POLL_SECONDS = 0.5
_STARTED = time.time()  # of this process, which imports this before anything slow
_LAUNCH_SECONDS = 10.0  # within which a launcher starts all processes


class Process(NamedTuple):
    """Which of the processes of an evaluation this one is."""

    rank: int = 0
    world_size: int = 1


#: No launcher.
ALONE = Process()


class AnswerStore:
    """The answers of one model.

    Args:
        folder: for all answers of the model and of nothing else.
        process: this process; it writes ``rank<rank>-of-<world_size>.jsonl``.

    Attributes:
        broken: lines that could not be read, as a loss of power leaves them; what they held is asked again.
    """

    def __init__(self, folder: Path, process: Process = ALONE):
        self.folder, self.process = folder, process
        self._failure = folder / f"rank{process.rank}-of-{process.world_size}.failed"
        self._mine = self._failure.with_suffix(".jsonl")
        self.broken = 0
        self._known: dict[str, Answer] = {}
        self._contents: dict[str, str] = {}  # of the images; each is read once
        self._from_before: frozenset[str] = frozenset()
        self._read_until: dict[Path, int] = {}

    def __enter__(self) -> AnswerStore:
        check_new_folder(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._failure.unlink(missing_ok=True)
        _cut_half_a_line(self._mine)
        self._update()
        self._from_before = frozenset(self._known)
        self._file: TextIO = self._mine.open("a", encoding="utf-8")
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._file.close()
        if error is not None:  # process 0 must not wait for answers that will never come
            self._failure.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")

    def ask(
        self, answerer: AnswerFunction, records: Sequence[Record], max_new_tokens: int, progress: Callable[[int], None]
    ) -> int:
        """Have the share of this process answered, without what is answered already.

        Questions about the same images go to the same process, so that each image is encoded once. The same question
        is asked once: shuffled phrases, which pair words and objects of a scene anew, cost next to nothing.

        Args:
            progress: called with the number of questions of this process's share that have become answered.

        Returns:
            How many answers were there before the store was opened.
        """
        mine = self._share(records)
        keys = [self._key(record, max_new_tokens) for record in mine]
        self._update()
        new = list({key: record for key, record in zip(keys, mine, strict=True) if key not in self._known}.values())
        progress(len(mine) - len(new))
        for index, answer in answerer(new, max_new_tokens):
            key = self._key(new[index], max_new_tokens)
            line = {"asked": key, "id": new[index].id, **_to_json(answer)}
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
            progress(1)
        return sum(key in self._from_before for key in keys)

    def collect(self, records: Sequence[Record], max_new_tokens: int, patience: float) -> list[Answer]:
        """The answers to all records, those of other processes included, as soon as they are there.

        Args:
            patience: seconds without any new answer after which it gives up.

        Raises:
            SkyEyeError: another process failed, or nothing came for too long; what was answered is kept.
        """
        keys = [self._key(record, max_new_tokens) for record in records]
        quiet_since, before = time.monotonic(), -1
        while True:
            self._update()
            there = sum(key in self._known for key in keys)
            if there == len(keys):
                return [self._known[key] for key in keys]
            self._stop_if_another_failed()
            if there != before:
                quiet_since, before = time.monotonic(), there
            if time.monotonic() - quiet_since > patience:
                raise SkyEyeError(
                    f"{len(keys) - there} of {len(keys)} answers are missing, and none came for {patience:.0f} s",
                    where=str(self.folder),
                    remedy="look at the output of the other processes, then start again: what is answered is kept",
                )
            time.sleep(_POLL_SECONDS)

    def wait_for_all(self, patience: float) -> None:
        """Say that the share of this process is answered, and wait until all processes have said so. For processes that
        meet afterwards: those that are done wait here, where a slow one is told from one that has died.

        Args:
            patience: seconds without any new answer after which it gives up.

        Raises:
            SkyEyeError: as :meth:`collect`.
        """
        self._mine.with_suffix(".done").touch()
        quiet_since, before = time.monotonic(), -1
        while (done := len(list(self.folder.glob(f"*-of-{self.process.world_size}.done")))) < self.process.world_size:
            self._stop_if_another_failed()
            written = sum(path.stat().st_size for path in self.folder.glob("*.jsonl"))
            if written != before:
                quiet_since, before = time.monotonic(), written
            if time.monotonic() - quiet_since > patience:
                raise SkyEyeError(
                    f"{self.process.world_size - done} of {self.process.world_size} processes have not answered their"
                    f" share, and no answer came for {patience:.0f} s",
                    where=str(self.folder),
                    remedy="look at the output of the other processes, then start again",
                )
            time.sleep(_POLL_SECONDS)

    def _key(self, record: Record, max_new_tokens: int) -> str:
        for image in record.images:
            if image not in self._contents:
                self._contents[image] = _content(image)
        return digest(record, max_new_tokens, [self._contents[image] for image in record.images])

    def _share(self, records: Sequence[Record]) -> list[Record]:
        places = {images: place for place, images in enumerate(dict.fromkeys(record.images for record in records))}
        rank, world_size = self.process
        return [record for record in records if places[record.images] % world_size == rank]

    def _update(self) -> None:
        """Read what has been appended to the files of all processes since the last time; whole lines only."""
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read_until.get(path, 0))
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read_until[path] = self._read_until.get(path, 0) + len(whole)
            for line in whole.split(b"\n")[:-1]:
                try:
                    key, answer = _from_json(line)
                except (ValueError, TypeError, KeyError, RecursionError):
                    self.broken += 1
                else:
                    self._known[key] = answer

    def _stop_if_another_failed(self) -> None:
        for path in sorted(self.folder.glob("*.failed")):
            if path.stat().st_mtime < _STARTED - _LAUNCH_SECONDS:
                continue  # of an earlier launch
            raise SkyEyeError(
                f"process {path.stem} failed: {path.read_text(encoding='utf-8')}",
                where=str(self.folder),
                remedy="mend that, then start again: what is answered is kept",
            )


def digest(record: Record, max_new_tokens: int, contents: Sequence[str]) -> str:
    """What an answer depends on besides the model: the words, the images, the longest answer.

    Args:
        contents: for each image something that changes when what it shows does.
    """
    turn = record.turns[0]
    words = [turn.task, turn.question, repr(turn.question_mentions)]
    content = json.dumps([words, record.images, list(contents), max_new_tokens])
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _content(reference: str) -> str:
    """A digest of the bytes that an image is read from; not its time, which differs between copies of a data set."""
    path, details = parse_reference(reference)
    try:
        if details.keys() & MEMBER:
            return hashlib.blake2b(read_bytes(reference), digest_size=12).hexdigest()
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=12)).hexdigest()
    except (OSError, ValueError, SkyEyeError):
        return "not readable"  # whoever is asked about it says what is wrong


def _to_json(answer: Answer) -> dict[str, Any]:
    line: dict[str, Any] = {"answer": answer.text}
    if answer.boxes is not None:
        line["boxes"] = [list(box) for box in answer.boxes]
    if answer.mask is not None:
        line["mask"] = asdict(answer.mask)
    if answer.embedding is not None:
        line["embedding"] = list(answer.embedding)
    if answer.cut:
        line["cut"] = True
    if answer.refused:
        line["refused"] = answer.refused
    if answer.scores is not None:
        line["scores"] = list(answer.scores)
    if answer.told:
        line["told"] = [list(token) for token in answer.told]
    return line


def _from_json(line: bytes) -> tuple[str, Answer]:
    """Which question a line of a file of answers answers, and the answer.

    Raises:
        ValueError, TypeError, KeyError, RecursionError: it is no such line.
    """
    entry = json.loads(line)
    if not all(isinstance(entry[key], str) for key in ("asked", "answer")):
        raise TypeError("asked and answer are no texts")
    boxes, mask, embedding, scores = (entry.get(key) for key in ("boxes", "mask", "embedding", "scores"))
    return entry["asked"], Answer(
        entry["answer"],
        None if boxes is None else tuple(box_of([float(number) for number in box]) for box in boxes),
        None if mask is None else Mask(int(mask["height"]), int(mask["width"]), tuple(map(int, mask["runs"]))),
        None if embedding is None else tuple(map(float, embedding)),
        entry.get("cut") is True,
        refused=str(entry.get("refused", "")),
        scores=None if scores is None else tuple(map(float, scores)),
        told=tuple(Told(int(end), float(value)) for end, value in entry.get("told", ())),
    )


def _cut_half_a_line(path: Path) -> None:
    """A process that is killed while it writes leaves half a line, to which the next answer must not be added."""
    if path.is_file():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
