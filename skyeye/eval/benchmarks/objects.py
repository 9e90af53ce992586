"""Detection from text as mean average precision, and counts, on the annotations of DOTA, DIOR and FAIR1M.

Every image is asked about every class, those that are not in it too: what is said of an absent class is wrong. The test
parts of DOTA and FAIR1M have no public annotations; asked is the validation part. Whole images are asked: those of DOTA
and FAIR1M are large, and published numbers are of tiles (``skyeye data tile``), so they are not to be put beside these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.eval import metrics
from skyeye.eval.benchmarks import prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace, locate
from skyeye.eval.benchmarks.grounding import dior
from skyeye.eval.benchmarks.words import COUNTING, DETECTION

DOTA = """plane, baseball diamond, bridge, ground track field, small vehicle, large vehicle, ship, tennis court,
basketball court, storage tank, soccer ball field, roundabout, harbor, swimming pool, helicopter"""
DIOR = """airplane, airport, baseball field, basketball court, bridge, chimney, dam, expressway service area,
expressway toll station, golf field, ground track field, harbor, overpass, ship, stadium, storage tank, tennis court,
train station, vehicle, windmill"""
FAIR1M = """boeing737, boeing747, boeing777, boeing787, c919, a220, a321, a330, a350, arj21, passenger ship, motorboat,
fishing boat, tugboat, engineering ship, liquid cargo ship, dry cargo ship, warship, small car, bus, cargo truck,
dump truck, van, trailer, tractor, excavator, truck tractor, basketball court, tennis court, football field,
baseball field, intersection, roundabout, bridge"""


def _folder(format: str, *patterns: str) -> Callable[[Path], SourceConfig]:
    def build(data_root: Path) -> SourceConfig:
        return SourceConfig(format, str(locate(data_root, patterns)))

    return build


def _asked(source: Callable[[Path], SourceConfig], classes: str, task: str) -> Callable[[Path], SourceConfig]:
    """The source of the annotations, asked class by class."""

    def build(data_root: Path) -> SourceConfig:
        of = source(data_root)
        names = [name.strip() for name in classes.split(",")]
        options = {"of": of.format, "classes": names, "task": task}
        return SourceConfig("class_questions", of.path, of.images, of.split, options)

    return build


def _pair(
    name: str, title: str, source: Callable[[Path], SourceConfig], places: Sequence[str], classes: str,
    oriented: bool, protocol: str,
) -> list[Benchmark]:  # fmt: skip
    """A benchmark of boxes and one of counts on the same annotations."""
    ids = "name of the annotation file, {}, class"
    words = f"{'polygons' if oriented else 'upright boxes'}; mAP by {protocol}"
    return [
        Benchmark(
            f"{name}.detect",
            f"{title}: detection from text",
            "detection",
            DataPlace(tuple(places), ids.format("detection"), _asked(source, classes, "detection")),
            partial(metrics.detection, oriented=oriented, protocol=protocol),
            "mAP",
            512,
            f"{DETECTION}; {words}",
            also=(f"{title.split()[0]}-mAP",),
            prompt=prompts.DETECTION,
            output="boxes",
            needs_images=True,
        ),
        Benchmark(
            f"{name}.count",
            f"{title}: counting",
            "numbers",
            DataPlace(tuple(places), ids.format("counting"), _asked(source, classes, "counting")),
            metrics.counting,
            "within_1",
            16,
            COUNTING,
            also=(f"{title.split()[0]}-counting",),
            prompt=prompts.VQA,
            needs_images=True,
        ),
    ]


_DOTA, _FAIR1M = ("DOTA/val", "DOTA*/val"), ("FAIR1M*/val*", "FAIR1M*")
_DIOR = ("DIOR*/ImageSets/Main/test.txt",)
BENCHMARKS = [
    *_pair("dota", "DOTA (val)", _folder("dota", *_DOTA), _DOTA, DOTA, True, "voc07"),
    *_pair("dior", "DIOR (test)", dior, _DIOR, DIOR, False, "voc"),
    *_pair("fair1m", "FAIR1M (val)", _folder("fair1m", *_FAIR1M), _FAIR1M, FAIR1M, True, "voc07"),
]
