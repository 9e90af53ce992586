"""Visual grounding on real boxes: expressions made by rule (``skyeye.data.formats.detection.base``) from detection
labels.

No published data set pairs expressions with the images used here, so the expressions ("the bus", "the leftmost car")
are ours and the scores cannot be compared with RSVG or DIOR-RSVG.
"""

from __future__ import annotations

from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.eval import metrics
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace, locate
from skyeye.eval.benchmarks.words import REFER

#: Smaller objects get no expression; half of the reader's default, because vehicles in whole frames are small.
MIN_SIDE = 0.02
#: The last frames of each of the two videos: later than all training frames, but of the same places.
TEST_FRAMES = ["DJI_0005-01[6-9]*", "DJI_0005-02*", "MunichStreet02-MOS9*"]

_VEHICLES, _DOTA = ("aerial_cars",), ("DOTA/val", "DOTA8")
_IDS = "name of the label file, 'refer', number of the object and of the expression ({})"


def vehicle_frames(data_root: Path) -> SourceConfig:
    folder = locate(data_root, _VEHICLES)
    options = {"min_side": MIN_SIDE, "splits": {"test": TEST_FRAMES}}
    return SourceConfig("yolo", str(folder), split="test", options=options)


def dota(data_root: Path) -> SourceConfig:
    """The validation part of DOTA in its own layout, else the DOTA8 sample patches in YOLO-OBB layout."""
    folder = locate(data_root, _DOTA)
    return SourceConfig(
        "dota" if (folder / "labelTxt").is_dir() else "yolo", str(folder), options={"min_side": MIN_SIDE}
    )


def _benchmark(name: str, title: str, source: DataPlace, words: str) -> Benchmark:
    return Benchmark(
        name,
        title,
        "refer",
        source,
        metrics.refer,
        "accuracy@0.5",
        48,
        f"{REFER}; {words}",
        keep=lambda record: record.task == "refer",
        chosen=lambda record: tuple(record.references["boxes"][0]),
        output="boxes",
    )


BENCHMARKS = [
    _benchmark(
        "vehicles.refer",
        "Vehicles in low-altitude frames: words to box",
        DataPlace(_VEHICLES, _IDS.format("MunichStreet02-MOS90:refer:3.0"), vehicle_frames),
        "expressions made by rule; tested on the last frames of each video",
    ),
    _benchmark(
        "dota.refer",
        "DOTA objects: words to box",
        DataPlace(_DOTA, _IDS.format("P0003:refer:3.0"), dota),
        "expressions made by rule from the oriented boxes",
    ),
]
