"""The held-out part of a made world (``skyeye data synth``); the data root is its folder, or the one above."""

from __future__ import annotations

from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.data.formats.generic.synthetic import REGIONS
from skyeye.errors import SkyEyeError
from skyeye.eval import metrics
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import Source
from skyeye.eval.benchmarks.words import CAPTION, CLASSIFICATION, IDENTIFY, PHRASE_GROUNDING, REFER, VQA


def held_out(task: str) -> Source:
    def build(data_root: Path) -> SourceConfig:
        return SourceConfig("made_world", str(world_folder(data_root)), split="test", options={"tasks": [task]})

    return Source((REGIONS,), "as the world's file says it", build)


def world_folder(data_root: Path) -> Path:
    """The data root, or the one made world in it.

    Raises:
        SkyEyeError: there is none, or several.
    """
    if (data_root / REGIONS).is_file():
        return data_root
    worlds = sorted(file.parent for file in data_root.glob(f"*/{REGIONS}"))
    if len(worlds) == 1:
        return worlds[0]
    if worlds:
        raise SkyEyeError(
            f"holds {len(worlds)} made worlds: {', '.join(world.name for world in worlds[:3])}",
            where=str(data_root),
            remedy="give one of them as --data-root",
        )
    raise SkyEyeError("holds no made world", where=str(data_root), remedy="write one: skyeye data synth OUT")


BENCHMARKS = [
    Benchmark(
        "world.scene",
        "Scene classification",
        "classification",
        held_out("classification"),
        metrics.classification,
        "accuracy",
        20,
        CLASSIFICATION,
    ),
    Benchmark("world.vqa", "Visual question answering", "vqa", held_out("vqa"), metrics.vqa, "accuracy", 20, VQA),
    Benchmark(
        "world.refer",
        "Visual grounding: words to box",
        "refer",
        held_out("refer"),
        metrics.refer,
        "accuracy@0.5",
        32,
        f"{REFER}; kinds of expressions: 'only' object of the scene, told by its 'kind', by colour and kind where the "
        "kind would do ('both'), by colour among objects of the 'same kind'",
        chosen=lambda record: record.references["object"],
        output="boxes",
    ),
    Benchmark(
        "world.grounding",
        "Phrase grounding: a phrase to all its boxes",
        "phrase_grounding",
        held_out("detection"),
        metrics.phrase_grounding,
        "f1@0.5",
        160,
        PHRASE_GROUNDING,
        chosen=lambda record: record.references["phrase"],
        output="boxes",
    ),
    Benchmark(
        "world.identify",
        "Referring expression generation: box to words",
        "identify",
        held_out("identify"),
        metrics.identify,
        "exact_match",
        20,
        IDENTIFY,
        chosen=lambda record: record.references["phrase"],
    ),
    Benchmark(
        "world.caption", "Image captioning", "captions", held_out("caption"), metrics.captions, "CIDEr", 64, CAPTION
    ),
    Benchmark(
        "world.frames",
        "Frame-sequence captioning",
        "captions",
        held_out("video_caption"),
        metrics.captions,
        "CIDEr",
        64,
        CAPTION,
    ),
]
