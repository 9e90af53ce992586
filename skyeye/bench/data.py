"""``skyeye bench data``: a made SkyEye-968k, assembled and read; memory, start-up and decoding are measured.

What is measured runs in processes of its own, so that neither this process nor the other parts count.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from skyeye.bench.memory import tree_bytes
from skyeye.bench.synthetic_data import write_release
from skyeye.config.schema import MixtureEntry
from skyeye.curate.assemble import assemble
from skyeye.data.formats.generic.shards import open_groups
from skyeye.data.images.load import load_image
from skyeye.data.mixture import Mixture
from skyeye.data.shards.index import ShardSet
from skyeye.errors import SkyEyeError

FULL = {"records": 968_000, "images": 70_000}
SMALL = {"records": 20_000, "images": 1_500}
#: What the project promises: bytes, seconds, and the slowdown of decoding against a bare PIL loop.
LIMITS = {"memory": 1.5e9, "start": 5.0, "middle": 2.0, "decoding": 1.15}

GROUPS_PER_STEP, BRANCHES = 48, 16
DECODED, PAIRS = 10_000, 7  # pictures a side of a pair decodes, some repeatedly in a small set; pairs, at most
READ = 20_000  # groups drawn one after the other


def bench_data(
    records: int, images: int, workers: int, side: int = 224, folder: Path | None = None, seconds: float = 300
) -> dict[str, Any]:
    """Make a data set, pack it and read it.

    Args:
        side: of the pictures, in pixels.
        folder: keeps what is made; default: a temporary folder.
        seconds: for the comparison of decoding, at most about.

    Returns:
        Figures by part; ``within`` says for each of :data:`LIMITS` whether it is kept.
    """
    with ExitStack() as stack:
        root = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skyeye-bench-")))
        began = time.perf_counter()
        tree, pictures = write_release(root, records, images, side, workers)
        made = {"seconds": round(time.perf_counter() - began, 1), "side": side}
        out = root / "shards"
        packed, assembling = measured(_assemble, tree, pictures, out, workers)
        start, starting = measured(_start, out, 0.0)
        middle, going_on = measured(_start, out, 0.5)
        read, reading = measured(_read, out)
        decoding = _decoding(_same_pictures(pictures, ShardSet(out)), workers, seconds)
    peak = max(part["peak_bytes"] for part in (assembling, starting, going_on, reading))
    return {
        "records": packed["samples"],
        "images": packed["images"],
        "workers": workers,
        "made": made,
        "assemble": {**packed, **assembling},
        "start": {**start, **starting},
        "middle": {**middle, **going_on},
        "read": {**read, **reading},
        "decoding": decoding,
        "limits": LIMITS,
        "within": {
            "memory": peak < LIMITS["memory"],
            "start": start["seconds_to_first_step"] < LIMITS["start"],
            "middle": middle["seconds_to_first_step"] < LIMITS["middle"],
            "decoding": decoding["time_against_plain"]["median"] < LIMITS["decoding"],
        },
    }


def _decoding(pairs: list[tuple[str, str]], workers: int, seconds: float) -> dict[str, Any]:
    """Pictures a second from shards against a bare PIL loop over the files, in alternating pairs."""
    from skyeye.bench.common import alternate, ratios

    parts, rounds = [pairs[n::workers] for n in range(workers)], -(-DECODED // len(pairs))
    processor: tuple[list[float], list[float]] = ([], [])
    with multiprocessing.get_context("spawn").Pool(workers) as pool:

        def rate(decode: Callable, which: int) -> Callable[[], float]:
            work = [[pair[which] for pair in part] * rounds for part in parts]

            def run() -> float:
                began = time.perf_counter()
                processor[which].append(sum(pool.map(decode, work, chunksize=1)))
                return rounds * len(pairs) / (time.perf_counter() - began)

            return run

        plain, ours = alternate(rate(_decode_plain, 0), rate(_decode_ours, 1), PAIRS, seconds)
    return {
        "images": len(pairs),
        "plain_images_per_second": round(max(plain)),
        "images_per_second": round(max(ours)),
        "time_against_plain": ratios(plain, ours),
        # other work on the machine does not count here; the first round of each was not measured
        "processor_time_against_plain": ratios(processor[1][1:], processor[0][1:]),
    }


def format_text(result: dict[str, Any]) -> str:
    """The figures as lines."""
    mark = {True: "within", False: "OVER"}
    assembled, decoding, within = result["assemble"], result["decoding"], result["within"]
    peaks = {part: f"{result[part]['peak_bytes'] / 1e6:.0f}" for part in ("assemble", "start", "middle", "read")}
    ratio, processor = (decoding[f"{kind}_against_plain"] for kind in ("time", "processor_time"))
    return "\n".join(
        [
            f"{result['records']} records of {result['images']} images ({result['made']['side']} px), "
            f"{result['workers']} workers",
            f"assemble: {assembled['seconds']} s, {assembled['shards']} shards, {assembled['megabytes']} MB, index "
            f"{assembled['index_megabytes']} MB",
            f"peak memory of the process tree in MB: {', '.join(f'{k} {v}' for k, v in peaks.items())} "
            f"({mark[within['memory']]} {LIMITS['memory'] / 1e9:g} GB)",
            f"start to first step: {result['start']['seconds_to_first_step']} s ({mark[within['start']]} "
            f"{LIMITS['start']:g} s); in the middle of the epoch: {result['middle']['seconds_to_first_step']} s "
            f"({mark[within['middle']]} {LIMITS['middle']:g} s); imports before: {result['start']['import_seconds']} s",
            f"reading: {result['read']['groups_per_second']} groups and {result['read']['samples_per_second']} "
            "samples/s in one process, without images",
            f"decoding: {decoding['images_per_second']} images/s, bare PIL {decoding['plain_images_per_second']}; time "
            f"against PIL {ratio['median']} (min {ratio['min']}, max {ratio['max']}, {ratio['pairs']} pairs), "
            f"{mark[within['decoding']]} {LIMITS['decoding']:g}; processor time {processor['median']} (min "
            f"{processor['min']}, max {processor['max']})",
        ]
    )


def measured(function: Callable, *arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Call in a fresh process; returns its result, and seconds and peak memory of it and its children together."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(there, function, arguments))
    began, peak, done = time.perf_counter(), 0, threading.Event()
    process.start()
    there.close()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, tree_bytes(process.pid))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        result = here.recv()
    except EOFError:
        result = RuntimeError(f"{function.__name__} ended without a result")
    took = time.perf_counter() - began
    done.set()
    watching.join()
    process.join()
    if isinstance(result, Exception):
        raise result
    return result, {"seconds": round(took, 1), "peak_bytes": peak}


def _tell(pipe, function: Callable, arguments: tuple) -> None:
    try:
        pipe.send(function(*arguments))
    except Exception as error:
        pipe.send(error)


def _assemble(tree: Path, pictures: Path, out: Path, workers: int) -> dict[str, Any]:
    header = assemble(tree, [pictures], out, workers=workers)["shards"]
    return {
        "samples": header["samples"],
        "images": header["images"],
        "shards": len(header["shards"]),
        "megabytes": round(sum(shard["bytes"] for shard in header["shards"]) / 1e6),
        "index_megabytes": round(sum(column["bytes"] for column in header["columns"].values()) / 1e6, 1),
    }


def _mixture(out: Path) -> Mixture:
    """All sources, opened one by one as a recipe names them, for a stage with as many groups as there are samples."""
    groups = {name: open_groups(out, source=name) for name in ShardSet(out).sources}
    total = sum(source.samples for source in groups.values())
    entries = [MixtureEntry(name) for name in groups]
    return Mixture(groups, entries, 1, "bench", total, BRANCHES, sampling="proportional")


def _start(out: Path, part: float) -> dict[str, Any]:
    """Open the shards, take up the order at a part of it, and have the pixels and texts of one step."""
    began = time.perf_counter()
    import skyeye.train.loader  # noqa: F401  what a training run imports before it looks at data
    from skyeye.data.images.load import to_pixels

    imported, processor = time.perf_counter(), time.process_time()
    mixture = _mixture(out)
    first = int(part * len(mixture))
    groups = [mixture.draw(n) for n in range(first, first + GROUPS_PER_STEP)]
    images = [image for group in groups for image in group.images]
    for image in images:
        to_pixels(load_image(image), 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    ready = time.perf_counter()
    return {
        "import_seconds": round(imported - began, 2),
        "seconds_to_first_step": round(ready - imported, 3),
        "processor_seconds": round(time.process_time() - processor, 3),
        "step_images": len(images),
        "step_samples": sum(len(group.records) for group in groups),
    }


def _read(out: Path) -> dict[str, Any]:
    mixture = _mixture(out)
    count = min(READ, len(mixture))
    began = time.perf_counter()
    samples = sum(len(mixture.draw(n).records) for n in range(count))
    took = time.perf_counter() - began
    return {"groups": count, "groups_per_second": round(count / took), "samples_per_second": round(samples / took)}


def _same_pictures(folder: Path, shards: ShardSet) -> list[tuple[str, str]]:
    """Up to :data:`DECODED` pictures at random: the file, and the reference of the same bytes in the shards."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    random.Random(1).shuffle(files)
    pairs = []
    for path in files:
        try:
            entry = shards.find(hashlib.sha256(path.read_bytes()).hexdigest()[:32])
        except SkyEyeError:
            continue  # no record asks about this one
        pairs.append((str(path), shards.image(entry)))
        if len(pairs) == DECODED:
            break
    return pairs


def _decode_plain(paths: list[str]) -> float:
    """Decode; returns seconds of processor time."""
    began = time.process_time()
    for path in paths:
        with Image.open(path) as image:
            image.convert("RGB")
    return time.process_time() - began


def _decode_ours(references: list[str]) -> float:
    began = time.process_time()
    for reference in references:
        load_image(reference)
    return time.process_time() - began
