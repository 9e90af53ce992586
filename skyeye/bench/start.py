"""``skyeye bench start``: time and memory of a start with the same records in JSON, in an index and in shards.

Everything is measured in a fresh process; the baseline is ``json.load`` of the same file and one look at each picture.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from skyeye.bench.data import measured
from skyeye.config.schema import SourceConfig
from skyeye.data.prompts.uavit import UAVIT_TAGS

RECORDS, RECORDS_PER_PICTURE = 520_000, 14.4  # of RSVQA and captions together
REPETITIONS = 3
_QUESTIONS = ("is there a {} next to the {} ?", "how many {}s are near the {} ?", "what is the area covered by {}s ?")
_THINGS = ("road", "residential building", "tree", "river", "bridge", "airplane", "ship", "tennis court", "pond")
_SETS = ("ERA", "VisDrone2019_DET", "UAV123", "WebUAV-3M")
_ANSWERS = ("yes", "no", "0", "3", "17", "between 0m2 and 10m2", "more than 1000m2")


def bench_start(records: int, pictures: int, layout: str = "llava") -> dict[str, Any]:
    """Make a list of records, and start from it in every way.

    Args:
        layout: ``llava`` (questions of RSVQA) or ``uavit`` (the tags of UAVIT-1M, boxes among them): also the format
            that the list is read in.

    Returns:
        For each way ``seconds`` (the least of :data:`REPETITIONS`), ``all_seconds`` and ``peak_bytes``;
        ``against_plain`` is the median of the ratios within a round.
    """
    with tempfile.TemporaryDirectory(prefix="skyeye-bench-") as folder:
        root = Path(folder)
        write_list(root, records, pictures, layout)
        size = (root / "list.json").stat().st_size
        measured(_pack, root, layout)
        ways: dict[str, tuple[Callable[..., float], ...]] = {
            "plain": (_plain,), "json": (_open, layout, False), "json, index written": (_open_first, layout),
            "index": (_open, layout, True), "shards": (_open_shards,),
        }  # fmt: skip
        rounds = [{name: _once(root, *way) for name, way in ways.items()} for _ in range(REPETITIONS)]
    found = {name: _summary([one[name] for one in rounds], [one["plain"] for one in rounds]) for name in ways}
    return {"records": records, "pictures": pictures, "layout": layout, "megabytes": round(size / 1e6), "ways": found}


def write_list(root: Path, records: int, pictures: int, layout: str = "llava") -> None:
    """Write ``root/list.json`` and so many small pictures, no two alike, to ``root/images``."""
    draw = random.Random(1)
    for number in range(pictures):
        colour = number % 256, number // 256 % 256, number // 65536
        place = root / "images" / _picture(number, layout)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), colour).save(place, compress_level=1)
    with open(root / "list.json", "w", encoding="utf-8") as file:
        for number in range(records):
            question = draw.choice(_QUESTIONS).format(draw.choice(_THINGS), draw.choice(_THINGS))
            tag, answer = "[vqa]", draw.choice(_ANSWERS)
            if layout == "uavit":
                tag, question, answer = _of_uavit(number, question, answer)
            asked = {"from": "human", "value": f"<image>\n{tag} {question}"}
            said = {"from": "gpt", "value": answer}
            item = {"id": f"rsvqa_{number}", "image": _picture(number * pictures // records, layout)}
            file.write(("[" if number == 0 else ", ") + json.dumps({**item, "conversations": [asked, said]}))
        file.write("]")


def _picture(number: int, layout: str) -> str:
    if layout == "llava":
        return f"{number:06}.png"
    return f"{_SETS[number % len(_SETS)]}/train/seq_{number // len(_SETS) % 100:02}/{number:06}.png"


def _of_uavit(number: int, question: str, answer: str) -> tuple[str, str, str]:
    """A question with each of the tags in turn; boxes in those that have them."""
    tag = list(UAVIT_TAGS.values())[number % len(UAVIT_TAGS)]
    box = f"{{<{number % 40}><{number % 50}><{50 + number % 50}><{60 + number % 40}>}}"
    if tag.startswith("[reg"):
        return tag, f"{question} {box}", answer
    return tag, question, {"[vg]": box, "[det]": f"{box}<delim>{box}"}.get(tag, answer)


def format_text(result: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = [f"{result['records']} records of {result['pictures']} pictures, {result['megabytes']} MB of JSON"]
    for name, way in result["ways"].items():
        lines.append(
            f"{name:>20}: {way['seconds']:8.2f} s, {way['against_plain']:5.2f} x json.load,"
            f" {way['peak_bytes'] / 1e6:5.0f} MB"
        )
    return "\n".join(lines)


def _summary(runs: list[tuple[float, int]], plain: list[tuple[float, int]]) -> dict[str, Any]:
    seconds = [round(took, 3) for took, _ in runs]
    ratios = [took / baseline for (took, _), (baseline, _) in zip(runs, plain, strict=True)]
    return {
        "seconds": min(seconds),
        "all_seconds": seconds,
        "peak_bytes": max(peak for _, peak in runs),
        "against_plain": round(statistics.median(ratios), 3),
    }


def _once(root: Path, start: Callable[..., float], *options: str | bool) -> tuple[float, int]:
    """Seconds of a start in a fresh process, imports not counted, and its peak memory, which counts everything."""
    seconds, about = measured(start, root, *options)
    return seconds, about["peak_bytes"]


def _plain(root: Path) -> float:
    began = time.perf_counter()
    with open(root / "list.json", encoding="utf-8") as file:
        items = json.load(file)
    for name in {item["image"] for item in items}:
        os.stat(root / "images" / name)
    return time.perf_counter() - began


def _open(root: Path, layout: str, index: bool) -> float:
    from skyeye.data.groups import open_source

    os.environ["SKYEYE_CACHE"] = str(root / "cache")
    began = time.perf_counter()
    groups, problems = open_source(
        SourceConfig(layout, str(root / "list.json"), str(root / "images")), "x", index=index
    )
    groups.with_tasks(["vqa"])
    assert groups.fingerprint and not problems
    return time.perf_counter() - began


def _open_first(root: Path, layout: str) -> float:
    for file in (root / "cache" / "sources").glob("*.index"):
        file.unlink()
    return _open(root, layout, True)


def _open_shards(root: Path) -> float:
    from skyeye.data.formats.generic.shards import open_groups

    began = time.perf_counter()
    groups = open_groups(root / "shards", source="x")
    groups.with_tasks(["vqa"])
    assert groups.fingerprint
    return time.perf_counter() - began


def _pack(root: Path, layout: str) -> None:
    from skyeye.data.shards.pack import pack

    source = SourceConfig(layout, str(root / "list.json"), str(root / "images"))
    pack({"x": source}, root / "shards", workers=os.cpu_count() or 1)
