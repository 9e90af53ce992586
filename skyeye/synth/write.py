"""Writes synthetic scenes: pictures, the published annotation tree for training, held-out files with references.

See docs/synthetic_scenes.md for every file. Each picture comes from its own generator, seeded by (seed, series, index):
the same seed gives the same bytes whatever the number of processes, and a larger set begins with the smaller one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from skyeye.data.files import cannot_be_written, check_new_folder
from skyeye.data.prompts import MiniGPTv2
from skyeye.errors import SkyEyeError
from skyeye.synth import questions as ask
from skyeye.synth.render import draw_clip, draw_scene
from skyeye.synth.scene import FRAMES, Clip, Scene, make_clip, make_scene

VERSION = 1
ABOUT = "scenes.yaml"
REGIONS = "regions.jsonl"
#: In whose words the annotations are written: those of SkyEye-968k.
PUBLISHED_STYLE = MiniGPTv2()
#: Series of pictures -> number in the seed, and beginning of their file names.
SERIES = {"train": (0, "scene"), "test": (1, "test"), "train_clips": (2, "frames"), "test_clips": (3, "test_frames")}
TRAIN_FILES = {
    "caption": "caption/caption_scenes_train.json",
    "video_caption": "caption/caption_frames_train.json",
    "vqa": "vqa/scenes_train.json",
    "classification": "vqa/scenes_train.json",
    "refer": "vg/scenes_train.json",
    "identify": "vg/scenes_train.json",
    "detection": "phrasegrounding/scenes_train.json",
    "grounding": "phrasegrounding/scenes_train.json",
    "conversation": "multitask_conversation/world_Conversa.json",
}
TEST_FILES = {
    "caption": "test/caption_test.json",
    "video_caption": "test/frames_test.json",
    "vqa": "test/vqa_test.json",
    "classification": "test/classification_test.json",
    "refer": "test/refer_test.json",
    "identify": "test/identify_test.json",
    "detection": "test/phrasegrounding_test.json",
}

Progress = Callable[[int, int], None]


def write_scenes(
    out: str | Path,
    images: int,
    seed: int,
    held_out: int | None = None,
    size: int = 224,
    progress: Progress | None = None,
    processes: int | None = None,
) -> dict[str, Any]:
    """Draw a set of training and held-out scenes into the folder ``out``.

    Args:
        images: number of training images. One frame sequence comes with every twenty.
        seed: of the whole set.
        held_out: number of held-out images, besides ``images``; default a tenth, at least 32. One held-out frame
            sequence comes with every four.
        size: side of the pictures in pixels.
        progress: called with (pictures drawn, pictures in all).
        processes: that draw; default one per processor. Changes nothing but speed.

    Returns:
        What was written: ``images``, ``held_out``, ``seed``, ``size``, ``version`` and ``counts`` (file -> records),
        and ``existed``: True when ``out`` held this very set already and nothing was done.

    Raises:
        SkyEyeError: ``out`` holds something else, or a number makes no sense.
    """
    out = Path(out).absolute()
    held_out = max(32, images // 10) if held_out is None else held_out
    if images < 1 or held_out < 1 or seed < 0 or not 56 <= size <= 4096:
        raise SkyEyeError(
            f"cannot draw {images} images and {held_out} held-out ones of {size} px with seed {seed}",
            remedy="give at least one image of each, 56 to 4096 px, and a seed of 0 or more",
        )
    about = {"scenes": "skyeye", "version": VERSION, "images": images, "held_out": held_out, "seed": seed, "size": size}
    existing = _existing(out, about)
    if existing:
        return existing | {"existed": True}
    check_new_folder(out)
    draft = out.parent / f".{out.name}.{os.getpid()}.part"
    try:
        (draft / "images").mkdir(parents=True)
        jobs = [(series, index) for series, number in _numbers(images, held_out).items() for index in range(number)]
        _draw_all(draft / "images", jobs, seed, size, processes or os.cpu_count() or 1, progress)
        about["counts"] = _write_annotations(draft, jobs, seed, size)
        (draft / ABOUT).write_text(yaml.safe_dump(about, sort_keys=False), encoding="utf-8")
        draft.replace(out)  # nothing half-written stands under the final name
    except OSError as error:
        raise cannot_be_written(error, out) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return about | {"existed": False}


def _existing(out: Path, about: dict[str, Any]) -> dict[str, Any] | None:
    """What ``out`` says about itself when it is the set asked for; None when the folder is free."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    remedy = "choose another folder, or remove this one"
    if not (out / ABOUT).is_file():
        raise SkyEyeError("is there already and holds no synthetic scenes", where=str(out), remedy=remedy)
    found = yaml.safe_load((out / ABOUT).read_text(encoding="utf-8"))
    if not isinstance(found, dict) or any(found.get(key) != value for key, value in about.items()):
        keys = [key for key in about if not isinstance(found, dict) or found.get(key) != about[key]]
        raise SkyEyeError(f"holds other synthetic scenes (other {', '.join(keys)})", where=str(out), remedy=remedy)
    return found


def _numbers(images: int, held_out: int) -> dict[str, int]:
    return {
        "train": images,
        "test": held_out,
        "train_clips": max(1, images // 20),
        "test_clips": max(1, held_out // 4),
    }


def content(seed: int, series: str, index: int) -> Scene | Clip:
    """What the picture or frame sequence ``index`` of a series shows."""
    make = make_clip if series.endswith("clips") else make_scene
    return make(_rng(seed, series, index, "content"))


def file_names(series: str, index: int) -> list[str]:
    """Its file names, in the order of the frames."""
    name = f"{SERIES[series][1]}_{index:06d}"
    return [f"{name}_{frame}.jpg" for frame in range(FRAMES)] if series.endswith("clips") else [f"{name}.jpg"]


def _rng(seed: int, series: str, index: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, SERIES[series][0], index, ("content", "drawing", "asking").index(purpose)])


# --- pictures ---------------------------------------------------------------------------------------------------------


def _draw_all(
    folder: Path, jobs: list[tuple[str, int]], seed: int, size: int, processes: int, progress: Progress | None
) -> None:
    total = sum(FRAMES if series.endswith("clips") else 1 for series, _ in jobs)
    draw, done = partial(_draw_one, folder, seed, size), 0
    for drawn in _parallel(draw, jobs, processes):
        done += drawn
        if progress:
            progress(done, total)


def _parallel(draw: Callable[[tuple[str, int]], int], jobs: list[tuple[str, int]], processes: int) -> Iterator[int]:
    if processes == 1 or len(jobs) < 100:  # a pool takes longer to start than this to draw
        yield from map(draw, jobs)
        return
    # spawn: a forked child may hang on a lock that a thread of the parent (torch) holds
    context = multiprocessing.get_context("spawn")
    ignore_ctrl_c = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # the parent handles it
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=ignore_ctrl_c)
    try:
        yield from pool.map(draw, jobs, chunksize=16)
    finally:
        pool.shutdown(cancel_futures=True)


def _draw_one(folder: Path, seed: int, size: int, job: tuple[str, int]) -> int:
    shown, rng = content(seed, *job), _rng(seed, *job, "drawing")
    pictures = draw_clip(shown, rng, size) if isinstance(shown, Clip) else [draw_scene(shown, rng, size)]
    for name, picture in zip(file_names(*job), pictures, strict=True):
        picture.save(folder / name, quality=90, subsampling=0)
    return len(pictures)


# --- annotations ------------------------------------------------------------------------------------------------------


def _write_annotations(root: Path, jobs: list[tuple[str, int]], seed: int, size: int) -> dict[str, int]:
    files: dict[str, list[dict[str, Any]]] = {name: [] for name in (*TRAIN_FILES.values(), *TEST_FILES.values())}
    regions: list[dict[str, Any]] = []
    for series, index in jobs:
        shown, names, held_out = content(seed, series, index), file_names(series, index), series.startswith("test")
        regions += _regions(shown, names)
        for number, sample in enumerate(_samples(shown, _rng(seed, series, index, "asking"), held_out)):
            items = files[(TEST_FILES if held_out else TRAIN_FILES)[sample.task]]
            items.append(_item(sample, names, shown, f"{SERIES[series][1]}_{index:06d}_{number:02d}", held_out, size))
    files[TEST_FILES["vqa"]] = _balance_counts(files[TEST_FILES["vqa"]])
    for name, items in files.items():
        _write_lines(root / name, items, "[\n", ",\n", "\n]\n")
    _write_lines(root / REGIONS, regions, "", "\n", "\n")
    return {name: len(items) for name, items in files.items()}


def _samples(shown: Scene | Clip, rng: np.random.Generator, held_out: bool) -> list[ask.Sample]:
    if isinstance(shown, Clip):
        return ask.clip_samples(shown, held_out)
    return (ask.held_out_samples if held_out else ask.training_samples)(shown, rng)


def _item(
    sample: ask.Sample, names: list[str], shown: Scene | Clip, id: str, held_out: bool, size: int
) -> dict[str, Any]:
    """One LLaVA-style record. ``objects`` is what a curriculum selects by."""
    conversations = [
        {"from": who, "value": text}
        for turn in sample.turns
        for who, text in (("human", PUBLISHED_STYLE.question(turn)), ("gpt", PUBLISHED_STYLE.answer(turn)))
    ]
    conversations[0]["value"] = f"<image>\n{conversations[0]['value']}"
    item: dict[str, Any] = {
        "id": id,
        "image": names[0] if len(names) == 1 else names,
        "task": sample.task,
        "objects": 1 if isinstance(shown, Clip) else len(shown.things),
        "conversations": conversations,
    }
    if sample.type:
        item["type"] = sample.type
    if held_out:
        item |= {"width": size, "height": size, "references": _rounded(sample.references)}
    return item


def _regions(shown: Scene | Clip, names: list[str]) -> Iterator[dict[str, Any]]:
    if isinstance(shown, Clip):
        contents: Iterable[Any] = [[(box, shown.phrase)] for box in shown.boxes]
    else:
        contents = [[(thing.box, thing.phrase) for thing in shown.things]]
    for name, things in zip(names, contents, strict=True):
        objects = [{"box": _rounded(list(box)), "phrase": phrase} for box, phrase in things]
        yield {"image": name, "ground": shown.ground, "objects": objects}


def _balance_counts(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep equally many of each answer to the counting questions, the first ones of each."""
    by_answer: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        if item["type"] == "count":
            by_answer[item["references"]["answer"]].append(number)
    keep = min(map(len, by_answer.values()), default=0)
    dropped = {number for numbers in by_answer.values() for number in numbers[keep:]}
    return [item for number, item in enumerate(items) if number not in dropped]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 6) if isinstance(value, float) else value


def _write_lines(path: Path, items: list[dict[str, Any]], start: str, between: str, end: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = between.join(json.dumps(item, ensure_ascii=False) for item in items)
    path.write_text(start + text + end, encoding="utf-8")
