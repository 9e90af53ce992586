"""Scene classification where the folder is the class: AID, NWPU-RESISC45, UCMerced, EuroSAT, WHU-RS19.

None of them publishes a test split. A folder ``test`` is taken where there is one; else, where captions of the same
images are there, their split is followed, so that no test image was seen with its caption; else a fifth of the images,
chosen by a checksum of the file name, is tested.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from skyeye.config.schema import SourceConfig
from skyeye.data.formats.base.splits import SPLITS, normal_split
from skyeye.errors import SkyEyeError
from skyeye.eval import metrics
from skyeye.eval.benchmarks import prompts
from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.folders import DataPlace, folders, located
from skyeye.eval.benchmarks.words import CLASSIFICATION

TEST_FRACTION = 0.2

AID = """Airport BareLand BaseballField Beach Bridge Center Church Commercial DenseResidential Desert Farmland Forest
Industrial Meadow MediumResidential Mountain Park Parking Playground Pond Port RailwayStation Resort River School
SparseResidential Square Stadium StorageTanks Viaduct""".split()
NWPU = """airplane airport baseball_diamond basketball_court beach bridge chaparral church circular_farmland cloud
commercial_area dense_residential desert forest freeway golf_course ground_track_field harbor industrial_area
intersection island lake meadow medium_residential mobile_home_park mountain overpass palace parking_lot railway
railway_station rectangular_farmland river roundabout runway sea_ice ship snowberg sparse_residential stadium
storage_tank tennis_court terrace thermal_power_station wetland""".split()
UCMERCED = """agricultural airplane baseballdiamond beach buildings chaparral denseresidential forest freeway golfcourse
harbor intersection mediumresidential mobilehomepark overpass parkinglot river runway sparseresidential storagetanks
tenniscourt""".split()
EUROSAT = """AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential River
SeaLake""".split()
WHU_RS19 = """Airport Beach Bridge Commercial Desert Farmland footballField Forest Industrial Meadow Mountain Park
Parking Pond Port railwayStation Residential River Viaduct""".split()


def class_root(data_root: Path, classes: Sequence[str]) -> Path:
    """The folder whose folders are these classes (at least half of them and no other), or are splits of them.

    Folders are told by what lies in them, not by their name: most releases call it ``images`` or by a number.

    Raises:
        SkyEyeError: there is none, or several.
    """
    known = {_plain(name) for name in classes}
    found: dict[Path, Path] = {}
    for place, below in folders(data_root):
        names = {_plain(name) for name in below}
        if names <= known and 2 * len(names) >= len(known):
            place = place.parent if normal_split(place.name.lower()) in SPLITS and place != data_root else place
            found.setdefault(place.resolve(), place)
    places = list(found.values())
    if len(places) == 1:
        return places[0]
    first = ", ".join(classes[:3])
    if places:
        raise SkyEyeError(
            f"{len(places)} folders hold the class folders {first} ...: {', '.join(map(str, places[:3]))}",
            where=str(data_root),
            remedy="give the one that is meant as --data-root",
        )
    raise SkyEyeError(
        f"no folder here holds the class folders {first} ... (at least half of {len(classes)}, and no others)",
        where=str(data_root),
        remedy="--data-root is the folder that holds the data sets, or that of this one",
    )


def _source(classes: Sequence[str], captions: str | None = None, anywhere: bool = False) -> DataPlace:
    """Args:
    captions: pattern of a captions file over the same images; ``anywhere`` below the data root, else only beside the
        class folders or the folder around them.
    """

    def build(data_root: Path) -> SourceConfig:
        root = class_root(data_root, classes)
        split_file = captions and _captions(data_root if anywhere else root, captions, anywhere)
        options = {"split_file": str(split_file)} if split_file else {"test_fraction": TEST_FRACTION}
        return SourceConfig("class_folders", str(root), split="test", options=options)

    looked_for = f"a folder of the class folders {', '.join(classes[:3])} ... ({len(classes)})"
    return DataPlace((looked_for,), "path of the image from its class folder on (Airport/airport_1.jpg)", build)


def _captions(place: Path, pattern: str, anywhere: bool) -> Path | None:
    if anywhere:
        return located(place, (pattern,))
    beside = sorted([*place.glob(pattern), *place.parent.glob(pattern)])
    return beside[0] if beside else None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _benchmark(name: str, title: str, source: DataPlace, also: tuple[str, ...]) -> Benchmark:
    return Benchmark(
        name,
        f"{title} scene classification",
        "classification",
        source,
        metrics.classification,
        "accuracy",
        20,
        CLASSIFICATION,
        also=also,
        prompt=prompts.CLASSIFY,
        needs_images=True,
    )


BENCHMARKS = [
    _benchmark("aid.scene", "AID", _source(AID, "dataset_rsicd*.json"), ("AID", "AID-scene")),
    _benchmark(
        "nwpu.scene",
        "NWPU-RESISC45",
        _source(NWPU, "dataset_nwpu*.json", anywhere=True),
        ("NWPU-RESISC45", "RESISC45", "NWPU"),
    ),
    _benchmark("ucmerced.scene", "UCMerced", _source(UCMERCED), ("UCMerced", "UC Merced Land Use", "UCM")),
    _benchmark("eurosat.scene", "EuroSAT", _source(EUROSAT), ("EuroSAT",)),
    _benchmark("whu_rs19.scene", "WHU-RS19", _source(WHU_RS19), ("WHU-RS19",)),
]
