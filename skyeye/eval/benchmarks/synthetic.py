"""The held-out part of a set of synthetic scenes (``skyeye data synth``); the data root is its folder, or the one
above."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.data.formats.generic.synthetic import REGIONS
from skyeye.errors import SkyEyeError
from skyeye.eval import metrics
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace
from skyeye.eval.benchmarks.words import CAPTION, CLASSIFICATION, IDENTIFY, PHRASE_GROUNDING, REFER, VQA


def held_out(task: str) -> DataPlace:
    def build(data_root: Path) -> SourceConfig:
        return SourceConfig("synthetic", str(scenes_folder(data_root)), split="test", options={"tasks": [task]})

    return DataPlace((REGIONS,), "as the file of the scenes says it", build)


def scenes_folder(data_root: Path) -> Path:
    """The data root, or the one folder of synthetic scenes in it.

    Raises:
        SkyEyeError: there is none, or several.
    """
    if (data_root / REGIONS).is_file():
        return data_root
    folders = sorted(file.parent for file in data_root.glob(f"*/{REGIONS}"))
    if len(folders) == 1:
        return folders[0]
    if folders:
        raise SkyEyeError(
            f"holds {len(folders)} folders of synthetic scenes: {', '.join(folder.name for folder in folders[:3])}",
            where=str(data_root),
            remedy="give one of them as --data-root",
        )
    raise SkyEyeError(
        "holds no synthetic scenes", where=str(data_root), remedy="write one: skyeye data synth OUT --images N"
    )


_BENCHMARKS = (
    Benchmark(
        "synth.scene",
        "Scene classification",
        "classification",
        held_out("classification"),
        metrics.classification,
        "accuracy",
        20,
        CLASSIFICATION,
    ),
    Benchmark("synth.vqa", "Visual question answering", "vqa", held_out("vqa"), metrics.vqa, "accuracy", 20, VQA),
    Benchmark(
        "synth.refer",
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
        "synth.grounding",
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
        "synth.identify",
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
        "synth.caption", "Image captioning", "captions", held_out("caption"), metrics.captions, "CIDEr", 64, CAPTION
    ),
    Benchmark(
        "synth.frames",
        "Frame-sequence captioning",
        "captions",
        held_out("video_caption"),
        metrics.captions,
        "CIDEr",
        64,
        CAPTION,
    ),
)

#: The controls of these benchmarks were first drawn under the old name of the family; published numbers rest on them.
BENCHMARKS = [replace(benchmark, drawn_as=benchmark.name.replace("synth.", "world.")) for benchmark in _BENCHMARKS]
