"""The windows of many scenes on a cluster, by Ray Data: chunks are a dataset, copies of the model are actors.

What a worker answers comes back to this process, which writes it into the same journals as without a cluster; a worker
that dies has its chunks asked by another one. Scenes have to lie where all machines see them under the same name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyeye.errors import SkyEyeError
from skyeye.serve.scenes.annotate import Asking, Job, Progress, answer_chunk, head_of, journal_of, pending
from skyeye.serve.scenes.answers import WindowAnswerer
from skyeye.serve.scenes.journal import Chunk, Journal
from skyeye.serve.scenes.many import Report, conclude, finished, write_summary
from skyeye.serve.scenes.scene import BadScene, Scene, open_scene, read_ahead


@dataclass(frozen=True)
class Described:
    """What is known of a model without opening it here; the workers open it.

    Attributes:
        open: makes the answerer; called once in each worker.
        name, side: as of the answerer.
    """

    open: Callable[[], WindowAnswerer]
    name: str
    side: int


class Worker:
    """A copy of the model that answers chunks, in a process of its own.

    Args:
        described: what to open.
        scenes: by job.
    """

    def __init__(self, described: Described, asking: Asking, scenes: dict[int, Scene]):
        self.answerer, self.asking, self.scenes = described.open(), asking, scenes

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Answer the chunks of a batch (columns ``job`` and ``chunk``): a line of a journal for each, or what keeps the
        scene from being read."""
        by_job: dict[int, list[int]] = defaultdict(list)
        for job, chunk in zip(batch["job"].tolist(), batch["chunk"].tolist(), strict=True):
            by_job[job].append(chunk)
        rows: dict[str, list[Any]] = {"job": [], "chunk": [], "line": [], "bad": []}
        for job, numbers in by_job.items():
            for number, line, bad in self._answer(self.scenes[job], numbers):
                for key, value in zip(rows, (job, number, line, bad), strict=True):
                    rows[key].append(value)
        return rows

    def _answer(self, scene: Scene, numbers: Sequence[int]) -> Iterator[tuple[int, str, str]]:
        size, total = self.asking.chunk, len(scene.tiles)
        chunks = [(number, range(number * size, min(number * size + size, total))) for number in numbers]
        try:
            for read in read_ahead(scene, chunks, self.answerer.prepare):
                chunk = answer_chunk(read, self.asking.questions, self.answerer)
                yield read.number, chunk.to_line(read.number), ""
        except BadScene as error:
            yield numbers[0], "", str(error)


def described_by_worker(open: Callable[[], WindowAnswerer]) -> Described:
    """What is to be known of a model, from a worker of the cluster: this machine need not be able to open it.

    Raises:
        SkyEyeError: Ray is not installed.
    """
    ray = _started()

    def look() -> tuple[str, int]:
        answerer = open()
        return answerer.name, answerer.side

    gpus = min(1, int(ray.cluster_resources().get("GPU", 0)))
    name, side = ray.get(ray.remote(num_gpus=gpus)(look).remote())
    return Described(open, name, side)


def annotate_by_ray(
    jobs: Sequence[Job],
    asking: Asking,
    described: Described,
    out: Path,
    replicas: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """As :func:`skyeye.serve.scenes.many.annotate_many`, on the cluster that Ray finds (``RAY_ADDRESS``), or on this
    machine.

    Args:
        replicas: copies of the model; None: one for each GPU, or one.

    Raises:
        SkyEyeError: Ray is not installed, or as there.
    """
    report = Report([], [])
    with ExitStack() as journals:
        scenes, written = _opened(jobs, asking, described, report, journals)
        waiting = [
            {"job": number, "chunk": chunk}
            for number, scene in scenes.items()
            for chunk, _ in pending(scene, written[number], asking)
        ]
        if waiting:
            bad = _run(_started(), waiting, Worker, (described, asking, scenes), replicas, written, progress)
            report.problems.extend((jobs[number].path, what) for number, what in bad.items())
            scenes = {number: scene for number, scene in scenes.items() if number not in bad}
        for number, scene in scenes.items():
            try:
                report.scenes.append(conclude(jobs[number], scene, asking, written[number]))
            except BadScene as error:
                report.problems.append((jobs[number].path, str(error)))
    write_summary(out, report)
    return report


def _started() -> Any:
    """Ray, connected to a cluster."""
    try:
        import ray
    except ImportError as error:
        what = "the engine ray is not installed"
        raise SkyEyeError(what, where="--engine", remedy="pip install skyeye[ray]") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    return ray


def _opened(
    jobs: Sequence[Job], asking: Asking, described: Described, report: Report, journals: ExitStack
) -> tuple[dict[int, Scene], dict[int, Journal]]:
    """The scenes that are not finished, with their journals."""
    scenes: dict[int, Scene] = {}
    written: dict[int, Journal] = {}
    for number, job in enumerate(jobs):
        try:
            scene = open_scene(job.path, asking.cutting, described.side)
        except BadScene as error:
            report.problems.append((job.path, str(error)))
            continue
        known = finished(job, head_of(scene, asking, described.name), asking)
        if known is not None:
            report.scenes.append(known)
            continue
        scenes[number] = scene
        written[number] = journals.enter_context(journal_of(job, scene, asking, described.name))
    return scenes, written


def _run(
    ray: Any,
    waiting: list[dict[str, int]],
    worker: type[Worker],
    arguments: tuple[Any, ...],
    replicas: int | None,
    written: dict[int, Journal],
    progress: Progress | None,
) -> dict[int, str]:
    """Have chunks answered and written down; (job -> why) of scenes that cannot be read."""
    import json

    gpus = int(ray.cluster_resources().get("GPU", 0))
    copies = replicas or max(1, gpus)
    # as many blocks as the copies take turns with; to part them later would need processors, which the copies hold
    rows = ray.data.from_items(waiting, override_num_blocks=min(len(waiting), 8 * copies))
    answered = rows.map_batches(
        worker, fn_constructor_args=arguments, batch_size=4, concurrency=copies, num_gpus=1 if gpus else 0
    )
    bad: dict[int, str] = {}
    total = sum(len(scene.tiles) for scene in arguments[2].values())
    for row in answered.iter_rows():
        if row["bad"]:
            bad[row["job"]] = row["bad"]
            continue
        written[row["job"]].add(row["chunk"], Chunk.from_line(json.loads(row["line"])))
        if progress:
            progress(sum(journal.windows for journal in written.values()), total)
    return bad
