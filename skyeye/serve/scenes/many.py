"""Thousands of scenes: each is asked, written and remembered; a bad one is told and passed."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skyeye.config.paths import expanded
from skyeye.data.files import write_whole
from skyeye.data.formats.base.image_folder import list_images
from skyeye.data.images.raster import REMOTE
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.store import ALONE, Process
from skyeye.serve.scenes.annotate import (
    Asking,
    Job,
    Progress,
    answer_scene,
    finish,
    head_of,
    journal_of,
    wait_for_others,
)
from skyeye.serve.scenes.answers import WindowAnswerer
from skyeye.serve.scenes.journal import Journal
from skyeye.serve.scenes.scene import BadScene, Scene, open_scene
from skyeye.serve.scenes.summary import summary_of
from skyeye.serve.scenes.write import Layer

#: Below the folder that is written: the answers, and what is known of finished scenes.
JOURNALS = "journal"
SUMMARY = "summary.json"
_LISTS = (".txt", ".lst")


@dataclass(frozen=True)
class Report:
    """What became of many scenes.

    Attributes:
        scenes: the summary of each that was written.
        problems: (scene, why it was not).
    """

    scenes: list[dict[str, Any]]
    problems: list[tuple[str, str]]


def scenes_of(target: str) -> list[str]:
    """The scenes that an argument names: a file, an address, all pictures below a folder, or the lines of a ``.txt``.

    Raises:
        SkyEyeError: there is none.
    """
    if target.startswith(REMOTE):
        return [target]
    path = Path(expanded(target))
    if path.is_dir():
        found = [str(path / name) for name in list_images(path)]
    elif path.suffix.lower() in _LISTS and path.is_file():
        lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
        named = [line for line in lines if line and not line.startswith("#")]
        found = [line if line.startswith(REMOTE) else str(path.parent / expanded(line)) for line in named]
    else:
        return [str(path)]
    if not found:
        raise SkyEyeError("holds no scene", where=target, remedy="a scene is a GeoTIFF or another picture")
    return found


def jobs_of(scenes: Sequence[str], out: Path, endings: Sequence[str], crs: str) -> list[Job]:
    """What is written of each scene into a folder, under the name of the scene.

    Args:
        endings: of :data:`skyeye.serve.scenes.write.KINDS`, with the dot.
    """
    names = [re.sub(r"[^A-Za-z0-9_.-]+", "_", scene.rstrip("/").rsplit("/", 1)[-1]) for scene in scenes]
    names = [name.rsplit(".", 1)[0].lstrip(".") or "scene" for name in names]
    often = Counter(name.lower() for name in names)
    jobs = []
    for scene, name in zip(scenes, names, strict=True):
        if often[name.lower()] > 1:
            name = f"{name}-{zlib.crc32(scene.encode(errors='surrogatepass')):08x}"
        layers = tuple(Layer(out / f"{name}{ending}", crs) for ending in endings)
        jobs.append(Job(scene, layers, out / JOURNALS / name, keep=True))
    return jobs


def annotate_many(
    jobs: Sequence[Job],
    asking: Asking,
    answerer: WindowAnswerer,
    out: Path,
    process: Process = ALONE,
    progress: Progress | None = None,
) -> Report | None:
    """Ask every window of every scene and write what was found.

    Under a launcher every process answers its share of the windows; the first one writes the layers.

    Args:
        out: folder for :data:`SUMMARY`.
        progress: called with (windows done, windows of all scenes).

    Returns:
        None in processes other than the first.

    Raises:
        SkyEyeError: something cannot be written, or a journal is of another run. A scene that cannot be read is told in
            the report.
    """
    run = _Run(asking, answerer, process, progress)
    run.count(jobs)
    for number, job in enumerate(jobs):
        run.answer(number, job)
    if process.rank:
        return None
    if process.world_size > 1:
        for job in jobs:
            run.finish(job)
    if all(job.keep for job in jobs):
        write_summary(out, run.report)
    return run.report


class _Run:
    """The state of :func:`annotate_many`."""

    def __init__(self, asking: Asking, answerer: WindowAnswerer, process: Process, progress: Progress | None):
        self.asking, self.answerer, self.process = asking, answerer, process
        self.report = Report([], [])
        self._progress, self._total, self._before = progress, 0, 0
        self._bad: set[str] = set()

    def count(self, jobs: Sequence[Job]) -> None:
        """The windows of all scenes, from their headers; and the scenes that cannot be opened."""
        for job in jobs:
            try:
                self._total += len(open_scene(job.path, self.asking.cutting, self.answerer.side).tiles)
            except BadScene as error:
                self._pass(job, error)

    def answer(self, number: int, job: Job) -> None:
        """Ask about the windows of a scene, or the share of this process in them."""
        if job.path in self._bad:
            return
        rank, world_size = self.process
        try:
            scene = open_scene(job.path, self.asking.cutting, self.answerer.side)
            known = finished(job, head_of(scene, self.asking, self.answerer.name), self.asking)
            if known is None:
                with journal_of(job, scene, self.asking, self.answerer.name, rank) as journal:
                    share = Process((rank - number) % world_size, world_size)
                    answer_scene(scene, journal, self.asking, self.answerer, share, self._told)
                    known = None if world_size > 1 else conclude(job, scene, self.asking, journal)
            if known is not None and world_size == 1:
                self._add(known, scene)
        except BadScene as error:
            self._pass(job, error)

    def finish(self, job: Job) -> None:
        """Write the layers of a scene that several processes answer."""
        if job.path in self._bad:
            return
        try:
            scene = open_scene(job.path, self.asking.cutting, self.answerer.side)
            known = finished(job, head_of(scene, self.asking, self.answerer.name), self.asking)
            if known is None:
                name, rank = self.answerer.name, self.process.rank
                with journal_of(job, scene, self.asking, name, rank, retry=False) as journal:
                    wait_for_others(scene, journal, self.asking, self._told)
                    known = conclude(job, scene, self.asking, journal)
                    if not job.keep and not known["windows"]["unreadable"]:
                        journal.remove()
            self._add(known, scene)
        except BadScene as error:
            self._pass(job, error)

    def _add(self, summary: dict[str, Any], scene: Scene) -> None:
        self.report.scenes.append(summary)
        self._before += len(scene.tiles)
        self._told(0, 0)

    def _pass(self, job: Job, error: BadScene) -> None:
        self._bad.add(job.path)
        self.report.problems.append((job.path, str(error)))

    def _told(self, done: int, _: int) -> None:
        if self._progress and self._total:
            self._progress(self._before + done, self._total)


def conclude(job: Job, scene: Scene, asking: Asking, journal: Journal) -> dict[str, Any]:
    """Write the layers of a scene and remember that they are there."""
    found = finish(job, scene, asking, journal)
    summary = summary_of(found)
    if job.keep and not found.unreadable:  # those windows are tried again by the next run
        state = {"state": _state(journal.head, job, asking), "summary": summary}
        write_whole(job.journal / "finished.json", json.dumps(state) + "\n")
    return summary


def finished(job: Job, head: dict[str, Any], asking: Asking) -> dict[str, Any] | None:
    """The summary of a scene whose layers an earlier run has written; None: there is something to do."""
    try:
        known = json.loads((job.journal / "finished.json").read_text(encoding="utf-8"))
        same = known["state"] == json.loads(json.dumps(_state(head, job, asking)))
        return known["summary"] if same and all(layer.path.is_file() for layer in job.layers) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_summary(out: Path, report: Report) -> None:
    """:data:`SUMMARY` of a folder: every scene, the sums over all of them, and what went wrong."""
    objects: Counter[str] = Counter()
    windows: Counter[str] = Counter()
    for scene in report.scenes:
        objects.update(scene["objects"])
        windows.update(scene["windows"])
    content = {
        "scenes": len(report.scenes),
        "objects": dict(sorted(objects.items())),
        "windows": dict(windows),
        "problems": [{"scene": scene, "what": what} for scene, what in report.problems],
        "each": report.scenes,
    }
    write_whole(out / SUMMARY, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _state(head: dict[str, Any], job: Job, asking: Asking) -> dict[str, Any]:
    layers = [[layer.path.name, layer.crs] for layer in job.layers]
    conditions = [None if each.condition is None else each.condition.question for each in asking.questions]
    return {**head, "layers": layers, "rules": asdict(asking.rules), "if": conditions}
