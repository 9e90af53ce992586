"""Scenes are asked, window by window, and become layers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skyeye.errors import SkyEyeError
from skyeye.eval.answers.store import ALONE, Process
from skyeye.serve.scenes.answers import WindowAnswerer
from skyeye.serve.scenes.findings import USUAL, Findings, Rules, findings
from skyeye.serve.scenes.journal import Chunk, Journal
from skyeye.serve.scenes.plan import Cutting
from skyeye.serve.scenes.questions import Question, turns_of
from skyeye.serve.scenes.scene import BadScene, Read, Scene, open_scene, read_ahead
from skyeye.serve.scenes.write import Layer, write_layers

#: Windows that are asked together and written down together.
CHUNK = 16
_POLL_SECONDS = 0.5
#: Seconds without any new answer after which process 0 gives the others up.
PATIENCE = 1800.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Asking:
    """What is asked, and what becomes of the answers.

    Attributes:
        questions: of every window.
        cutting: into windows.
        rules: which boxes count.
        chunk: windows that are asked together.
    """

    questions: tuple[Question, ...]
    cutting: Cutting = field(default_factory=Cutting)
    rules: Rules = USUAL
    chunk: int = CHUNK


@dataclass(frozen=True)
class Job:
    """A scene and what is written about it.

    Attributes:
        path: file or address of the scene.
        layers: the files to write.
        journal: folder of its answers.
        keep: leave the answers there when everything has been written.
    """

    path: str
    layers: tuple[Layer, ...]
    journal: Path
    keep: bool = False


def annotate_scene(job: Job, asking: Asking, answerer: WindowAnswerer, progress: Progress | None = None) -> Findings:
    """Ask every window of one scene and write what was found.

    Args:
        progress: called with (windows done, windows of the scene).

    Raises:
        BadScene: it cannot be read at all.
        SkyEyeError: nothing can be written, or the journal is of another run.
    """
    scene = open_scene(job.path, asking.cutting, answerer.side)
    with journal_of(job, scene, asking, answerer.name) as journal:
        answer_scene(scene, journal, asking, answerer, progress=progress)
        found = finish(job, scene, asking, journal)
        if not job.keep and not found.unreadable:
            journal.remove()
        return found


@contextmanager
def journal_of(
    job: Job, scene: Scene, asking: Asking, model: str, rank: int = 0, retry: bool = True
) -> Iterator[Journal]:
    """The journal of a scene, open; see :class:`~skyeye.serve.scenes.journal.Journal`.

    Args:
        model: name of what answers.
    """
    journal = Journal(job.journal, head_of(scene, asking, model), rank, retry)
    try:
        yield journal
    finally:
        journal.close()


def answer_scene(
    scene: Scene,
    journal: Journal,
    asking: Asking,
    answerer: WindowAnswerer,
    share: Process = ALONE,
    progress: Progress | None = None,
) -> None:
    """Ask about the windows of a scene that are not in its journal yet.

    Args:
        share: of a process: every ``world_size``-th chunk, from number ``rank`` on.
    """
    mine = [(number, windows) for number, windows in pending(scene, journal, asking) if number % share[1] == share[0]]
    if progress:
        progress(journal.windows, len(scene.tiles))
    if not mine:
        return
    for read in read_ahead(scene, mine, answerer.prepare):
        journal.add(read.number, answer_chunk(read, asking.questions, answerer))
        if progress:
            progress(journal.windows, len(scene.tiles))


def pending(scene: Scene, journal: Journal, asking: Asking) -> list[tuple[int, range]]:
    """(number, indices of its windows) of every chunk that has not been answered."""
    return [(number, windows) for number, windows in chunks_of(scene, asking.chunk) if number not in journal.done]


def finish(job: Job, scene: Scene, asking: Asking, journal: Journal) -> Findings:
    """Write the layers of a scene all of whose chunks have been answered.

    Raises:
        BadScene: not one window could be read.
        SkyEyeError: a layer cannot be written.
    """
    chunks = [journal.done[number] for number in sorted(journal.done)]
    found = findings(scene, asking.questions, chunks, asking.rules)
    if found.unreadable and not found.asked and not found.empty:
        what = f"no window can be read; the first: {found.unreadable[0][1]}"
        raise BadScene(what, where=job.path, remedy="fetch the file again: its header is sound, its pixels are not")
    write_layers(found, job.layers)
    return found


def head_of(scene: Scene, asking: Asking, answers: str) -> dict[str, Any]:
    """What a journal says about itself: everything that its answers depend on."""
    windows = hashlib.sha256(repr([(tile.window, tile.every) for tile in scene.tiles]).encode()).hexdigest()[:16]
    turns = [asdict(turn) for turn in turns_of(asking.questions)]
    asked = hashlib.sha256(repr(turns).encode()).hexdigest()[:16]
    return {
        "scene": scene.fingerprint,
        "windows": windows,
        "questions": asked,
        "model": answers,
        "windows asked together": asking.chunk,
    }


def chunks_of(scene: Scene, size: int) -> list[tuple[int, range]]:
    """(number, indices of its windows) of every chunk."""
    total = len(scene.tiles)
    return [(number, range(start, min(start + size, total))) for number, start in enumerate(range(0, total, size))]


def answer_chunk(read: Read, questions: Sequence[Question], answerer: WindowAnswerer) -> Chunk:
    """Ask about the windows of a chunk that have data."""
    said = answerer.answer([each for _, each in read.prepared], turns_of(questions)) if read.prepared else []
    answers = {index: each for (index, _), each in zip(read.prepared, said, strict=True)}
    return Chunk(answers, tuple(read.empty), tuple(read.unreadable))


def wait_for_others(scene: Scene, journal: Journal, asking: Asking, progress: Progress | None = None) -> None:
    """Wait until every chunk of a scene has been answered by some process.

    Raises:
        SkyEyeError: nothing came for :data:`PATIENCE` seconds.
    """
    quiet_since, before = time.monotonic(), -1
    while missing := len(pending(scene, journal, asking)):
        journal.update()
        if len(journal.done) != before:
            quiet_since, before = time.monotonic(), len(journal.done)
            if progress:
                progress(journal.windows, len(scene.tiles))
            continue
        if time.monotonic() - quiet_since > PATIENCE:
            what = f"{missing} chunks of windows are missing, and none came for {PATIENCE:.0f} s"
            remedy = "look at the output of the other processes, then start again: what is answered is kept"
            raise SkyEyeError(what, where=str(journal.folder), remedy=remedy)
        time.sleep(_POLL_SECONDS)
