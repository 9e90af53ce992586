"""Anything readable becomes a shard set: in parallel, resumable, and with the same bytes for any number of workers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from skyeye import __version__
from skyeye.config.schema import SourceConfig
from skyeye.data.files import cannot_be_written, whole_file, write_json
from skyeye.data.formats import check_source
from skyeye.data.formats.base.image_folder import IMAGE_SUFFIXES
from skyeye.data.locks import NO_LOCKS, lock_file, unlock
from skyeye.data.shards.encode import Encoding
from skyeye.data.shards.layout import FORMAT, HEADER, SKIPPED, SOURCES, SPLITS, TASKS, VERSION, shard_name
from skyeye.data.shards.remote import is_url
from skyeye.data.shards.spool import identify, spool_source
from skyeye.data.shards.write import finished_shard, write_index, write_shard
from skyeye.errors import SkyEyeError, of_the_system

SHARD_BYTES = 256 << 20
ROWS_PER_UNIT = 100_000  # records whose images are looked at by one worker at a time
WORK = ".packing"

Arguments = tuple[Any, ...]

Progress = Callable[[str, int, int], None]


def pack(
    sources: Mapping[str, SourceConfig],
    out: str | Path,
    *,
    workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
    encoding: Encoding | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Pack sources into a shard set.

    A killed run is gone on with by calling it again: what was finished is verified and kept; a set that is complete is
    verified. Records that a reader reports, or whose image cannot be read, are listed in ``out/skipped.txt``.

    Args:
        sources: name -> source; the set keeps the names.
        out: folder of the set: new, empty, or that of an unfinished run with the same arguments.
        workers: processes; the bytes written do not depend on them.
        shard_bytes: size of a tar file, about.
        encoding: write the pictures anew instead of taking over their bytes.
        progress: called with (what, done, total).

    Returns:
        The header of the index (docs/shards.md).

    Raises:
        SkyEyeError: a source cannot be read, ``out`` holds something else, or the disk is full.
    """
    out, names = Path(out), list(sources)
    for name, source in sources.items():
        check_source(source, name)
    if not names:
        raise SkyEyeError("nothing to pack", remedy="name a recipe, or files and folders of annotations")
    job = _fingerprint(sources, shard_bytes, encoding)
    if (out / HEADER).is_file():
        return _already_there(out, job)
    work = _work_folder(out)
    with _only_one(work):
        _begin(out, work, job)
        run = _Units(workers, progress)
        read, seen = _look(sources, work, run, decode=encoding is not None)
        shards = _write_shards(out, work, run, (read, seen), names, shard_bytes, encoding)
        _join_skipped(out, work, len(names), len(seen))
        header = _header(sources, read, seen, job, encoding)
        _write_sources(out, names)
        header = write_index(out, work, shards, header)
    shutil.rmtree(work)
    return header


def _work_folder(out: Path) -> Path:
    work = out / WORK
    try:
        if out.is_dir() and not work.is_dir() and any(out.iterdir()):
            raise SkyEyeError("the folder is not empty", where=str(out), remedy="choose another --out")
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_written(error, out) from error
    return work


def _look(
    sources: Mapping[str, SourceConfig], work: Path, run: _Units, decode: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read all annotations, then look at all images: what the units of each of the two found."""
    names = list(sources)
    to_read = [(work, n, name, sources[name]) for n, name in enumerate(names)]
    run.all("reading sources", spool_source, to_read, ("s", work))
    read = [_load(work / f"s{n:05d}.json") for n in range(len(names))]
    units = max(8, -(-sum(r["records"] for r in read) // ROWS_PER_UNIT))
    run.all("looking at images", identify, [(work, unit, units, names, decode) for unit in range(units)], ("u", work))
    return read, [_load(work / f"u{unit:05d}.json") for unit in range(units)]


def _write_shards(
    out: Path,
    work: Path,
    run: _Units,
    found: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    names: list[str],
    shard_bytes: int,
    encoding: Encoding | None,
) -> int:
    """Write the shards that are not there yet and remove those of another number; how many they are."""
    total = sum(unit["bytes"] for units in found for unit in units)
    shards = max(1, -(-total // shard_bytes))
    todo = [n for n in range(shards) if not finished_shard(out, work, n)]
    units = len(found[1])
    run.all("writing shards", write_shard, [(out, work, n, shards, units, names, encoding) for n in todo])
    for stray in set(out.glob("shard-*.tar")) - {out / shard_name(n) for n in range(shards)}:
        stray.unlink()
    return shards


def _header(
    sources: Mapping[str, SourceConfig],
    read: list[dict[str, Any]],
    seen: list[dict[str, Any]],
    job: str,
    encoding: Encoding | None,
) -> dict[str, Any]:
    listed = []
    for number, (name, source) in enumerate(sources.items()):
        kinds = Counter(read[number]["skipped"])
        kinds["unreadable image"] += sum(unit["skipped"].get(name, 0) for unit in seen)
        told = {"skipped": dict(+kinds), "system_turns": read[number]["system_turns"]}
        listed.append({"name": name, **dataclasses.asdict(source), **told})
    return {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"skyeye {__version__}",
        "job": job,
        "tasks": TASKS,
        "splits": SPLITS,
        "sources": listed,
        "skipped": sum(sum(source["skipped"].values()) for source in listed),
        "encoding": encoding and dataclasses.asdict(encoding),
    }


class _Units:
    """Carries out independent units of work, here or in processes; a unit whose ``.json`` is there is done."""

    def __init__(self, workers: int, progress: Progress | None):
        self.workers, self.progress = workers, progress or (lambda what, done, total: None)

    def all(
        self,
        what: str,
        function: Callable[..., None],
        arguments: list[Arguments],
        marks: tuple[str, Path] | None = None,
    ) -> None:
        todo = arguments
        if marks is not None:
            letter, work = marks
            todo = [a for n, a in enumerate(arguments) if not (work / f"{letter}{n:05d}.json").is_file()]
        done, total = len(arguments) - len(todo), len(arguments)
        self.progress(what, done, total)
        for _ in self._each(function, todo):
            done += 1
            self.progress(what, done, total)

    def _each(self, function: Callable[..., None], todo: list[Arguments]) -> Iterable[None]:
        if self.workers <= 1 or len(todo) <= 1:
            for arguments in todo:
                _plainly(function, arguments)
                yield
            return
        # spawned, not forked: the process that packs may have threads of libraries that a fork would break
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(self.workers, len(todo)), context, initializer=_end_with, initargs=(os.getpid(),)
        ) as pool:
            futures = [pool.submit(_plainly, function, arguments) for arguments in todo]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _plainly(function: Callable[..., None], arguments: Arguments) -> None:
    """Call; an error of the user's comes back in a form that survives the way between processes."""
    try:
        function(*arguments)
    except SkyEyeError as error:
        raise SkyEyeError(error.what, where=error.where, remedy=error.remedy) from error
    except OSError as error:
        told = of_the_system(error)
        raise SkyEyeError(f"cannot be written: {told.what}", where=told.where, remedy=told.remedy) from error


def _end_with(parent: int) -> None:
    """A worker whose parent was killed must not live on beside the run that goes on in its place."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _only_one(work: Path) -> Iterator[None]:
    try:
        handle, holder = lock_file(work / "lock")
    except OSError as error:
        if error.errno not in NO_LOCKS:
            what = f"cannot be written to: {error.strerror or error}"
            raise SkyEyeError(what, where=str(work), remedy="choose another --out") from error
        yield  # nothing can be locked there
        return
    try:
        if holder is not None:
            what = f"another run is packing into this folder: {holder}"
            raise SkyEyeError(what, where=str(work.parent), remedy="wait until it has ended, or choose another --out")
        yield
    finally:
        unlock(handle)


def _begin(out: Path, work: Path, job: str) -> None:
    """Keep what an earlier attempt at the same job has finished, and nothing of another."""
    kept = work / "job.json"
    if not kept.is_file() or _load(kept) != job:
        for path in [*work.glob("[sud]*.*"), *out.glob("shard-*.tar")]:
            path.unlink()
        write_json(kept, job)
    for path in [*work.glob(".*.partial"), *out.glob(".*.partial")]:
        path.unlink()


def _already_there(out: Path, job: str) -> dict[str, Any]:
    from skyeye.data.shards.index import ShardSet

    shards = ShardSet(out)
    if shards.header.get("job") != job:
        raise SkyEyeError(
            "holds another shard set, or the annotations changed since it was packed",
            where=str(out),
            remedy="choose another --out or remove the folder",
        )
    if damaged := shards.damaged_shards():
        raise SkyEyeError(
            f"{len(damaged)} shards are not what was packed: {', '.join(damaged[:3])}",
            where=str(out),
            remedy="remove the folder and pack it again",
        )
    return shards.header


def _fingerprint(sources: Mapping[str, SourceConfig], shard_bytes: int, encoding: Encoding | None) -> str:
    """What the bytes of a set depend on: settings, and size and time of the annotation files."""
    files = []
    for source in sources.values():
        if is_url(source.path):
            continue
        path = Path(source.path)
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [
            (str(p), p.stat().st_size, p.stat().st_mtime_ns)
            for p in below
            if p.suffix.lower() not in IMAGE_SUFFIXES and p.is_file()
        ]
    settings = [
        VERSION,
        {name: dataclasses.asdict(source) for name, source in sources.items()},
        shard_bytes,
        encoding and dataclasses.asdict(encoding),
        files,
    ]
    return hashlib.sha256(json.dumps(settings, default=str).encode()).hexdigest()[:32]


def _join_skipped(out: Path, work: Path, sources: int, units: int) -> None:
    """One list of everything that was skipped."""
    parts = [work / f"s{n:05d}.skipped" for n in range(sources)] + [work / f"u{n:05d}.skipped" for n in range(units)]
    with whole_file(out / SKIPPED) as file:
        for part in parts:
            with open(part, "rb") as listed:
                shutil.copyfileobj(listed, file)


def _write_sources(out: Path, names: list[str]) -> None:
    """The sources as a recipe names them: to be copied into one, or to be named as ``extends:``."""
    sources = {name: {"format": "shards", "path": str(out), "options": {"source": name}} for name in names}
    with whole_file(out / SOURCES) as file:
        file.write(yaml.safe_dump({"sources": sources}, sort_keys=False, default_flow_style=None, width=200).encode())


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
