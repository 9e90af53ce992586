from __future__ import annotations

import time

import pytest

from skyeye.data.record import Record, Turn
from skyeye.eval import metrics
from skyeye.eval.metrics import classes_named
from skyeye.eval.metrics.synonyms import SAME, numbers, other_names
from skyeye.eval.metrics.words import compact
from skyeye.eval.results import Answer

CLASSES = ["DenseResidential", "Residential", "BaseballField", "storage tanks", "Pond"]
AID = (
    "Airport BareLand BaseballField Beach Bridge Center Church Commercial DenseResidential Desert Farmland Forest "
    "Industrial Meadow MediumResidential Mountain Park Parking Playground Pond Port RailwayStation Resort River School "
    "SparseResidential Square Stadium StorageTanks Viaduct"
).split()
NWPU = (
    "airplane airport baseball_diamond basketball_court beach bridge chaparral church circular_farmland cloud "
    "commercial_area dense_residential desert forest freeway golf_course ground_track_field harbor industrial_area "
    "intersection island lake meadow medium_residential mobile_home_park mountain overpass palace parking_lot railway "
    "railway_station rectangular_farmland river roundabout runway sea_ice ship snowberg sparse_residential stadium "
    "storage_tank tennis_court terrace thermal_power_station wetland"
).split()
UCMERCED = (
    "agricultural airplane baseballdiamond beach buildings chaparral denseresidential forest freeway golfcourse harbor "
    "intersection mediumresidential mobilehomepark overpass parkinglot river runway sparseresidential storagetanks "
    "tenniscourt"
).split()
EUROSAT = (
    "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential River SeaLake"
).split()
WHU = (
    "Airport Beach Bridge Commercial Desert Farmland footballField Forest Industrial Meadow Mountain Park Parking Pond "
    "Port railwayStation Residential River Viaduct"
).split()


def classification(records, texts, **options):
    return metrics.classification(records, [Answer(text) for text in texts], **options)


def record(truth: str, classes: list[str]) -> Record:
    references = {"answer": truth, "classes": classes}
    return Record("id", "test", "classification", "test", ("a.png",), (Turn("[vqa] x", truth),), references)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("Pond", ["Pond"]),
        ("it is a baseball field.", ["BaseballField"]),
        ("baseballfield", ["BaseballField"]),
        ("dense residential", ["DenseResidential"]),
        ("residential", ["Residential"]),
        ("dense residential, and residential", ["DenseResidential", "Residential"]),
        ("Storage Tanks", ["storage tanks"]),
        ("ponderous", []),
        ("", []),
    ],
)
@pytest.mark.parametrize("synonyms", [True, False])
def test_classes_named(answer, named, synonyms):
    assert classes_named(answer, CLASSES, synonyms) == named


@pytest.mark.parametrize(
    ("classes", "answer", "named"),
    [
        (AID, "a baseball diamond", ["BaseballField"]),
        (AID, "harbour", ["Port"]),
        (AID, "a storage tank", ["StorageTanks"]),
        (AID, "parking lot", ["Parking"]),  # under its own name
        (AID, "two parks", ["Park"]),
        (AID, "low-density residential", ["SparseResidential"]),
        (NWPU, "Port", ["harbor"]),
        (NWPU, "industrial", ["industrial_area"]),
        (NWPU, "train station", ["railway_station"]),
        (NWPU, "railroad", ["railway"]),
        (NWPU, "a snow-capped mountain", ["snowberg"]),
        (NWPU, "churches", ["church"]),
        (UCMERCED, "farmland", ["agricultural"]),
        (UCMERCED, "mobile home park", ["mobilehomepark"]),
        (UCMERCED, "a highway", ["freeway"]),
        (EUROSAT, "freeway", ["Highway"]),
        (EUROSAT, "sea and lake", ["SeaLake"]),
        (WHU, "soccer field", ["footballField"]),
        (WHU, "car park", ["Parking"]),  # not the park inside it
    ],
)
def test_other_names(classes, answer, named):
    assert classes_named(answer, classes) == named


@pytest.mark.parametrize(
    ("classes", "answer"),
    [
        (NWPU, "farmland"),  # circular or rectangular
        (NWPU, "sea"),  # "sea lake" is one class in EuroSAT; NWPU's lakes are no sea
        (AID, "airfield"),
        (AID, "overpass"),
        (AID, "ground track field"),
        (EUROSAT, "cropland"),
    ],
)
def test_what_is_merely_near_is_no_other_name(classes, answer):
    assert classes_named(answer, classes) == []


@pytest.mark.parametrize("classes", [AID, NWPU, UCMERCED, EUROSAT, WHU])
def test_every_class_answers_to_its_own_name_and_no_other_name_is_a_class(classes):
    others = other_names(tuple(classes))
    assert not others.keys() & {compact(name) for name in classes}
    for name in classes:
        assert classes_named(name, classes) == classes_named(name, classes, synonyms=False) == [name]


def test_a_name_that_two_classes_claim_is_nobodys():
    assert classes_named("harbour", ["harbor", "port"]) == []
    assert classes_named("port", ["harbor", "port"]) == ["port"]
    assert classes_named("highways", ["highway", "freeway"]) == []
    # a line of the table with two of its names among the classes tells them apart; nothing else of it counts
    assert other_names(("baseball field", "baseball diamond")) == {}


def test_no_name_of_the_table_means_two_kinds_of_scene():
    forms = [form for line in SAME for form in set().union(*(numbers(compact(name)) for name in line))]
    assert len(forms) == len(set(forms))


@pytest.mark.parametrize(
    ("one", "many"),
    [("church", "churches"), ("runway", "runways"), ("city", "cities"), ("overpass", "overpasses"), ("pond", "ponds")],
)
def test_singular_and_plural(one, many):
    assert many in numbers(one) and one in numbers(many)


def test_classes_under_their_own_names_go_before_other_names():
    assert classes_named("a parking lot with many planes", NWPU) == ["parking_lot"]
    assert classes_named("planes and railroads", NWPU) == ["airplane", "railway"]


def test_only_the_one_class_named_counts():
    records = [record(x, CLASSES) for x in ("Pond", "Pond", "BaseballField", "Pond")]
    scores = classification(records, ["a pond", "pond or baseball field", "baseball field", "sea"])
    assert scores.metrics["accuracy"] == scores.metrics["accuracy (exact names)"] == 50
    assert scores.metrics["accuracy/Pond"] == pytest.approx(100 / 3)
    assert scores.metrics["accuracy/BaseballField"] == 100
    assert scores.metrics["balanced_accuracy"] == pytest.approx((100 / 3 + 100) / 2)
    assert scores.counts["answers that name several"] == 1
    assert scores.counts["answers that name no class"] == 1
    assert [(item["truth"], item["named"]) for item in scores.items] == [
        ("Pond", ["Pond"]),
        ("Pond", ["Pond", "BaseballField"]),
        ("BaseballField", ["BaseballField"]),
        ("Pond", []),
    ]


def test_exact_names_are_stricter():
    scores = classification([record("Port", AID)] * 4, ["port", "harbor", "ports", "river"])
    assert scores.metrics["accuracy"] == 75
    assert scores.metrics["accuracy (exact names)"] == 25


def test_perfect_empty_and_shuffled():
    records = [record(name, AID) for name in AID]
    assert classification(records, AID).metrics["balanced_accuracy"] == 100
    assert classification(records, AID).metrics["accuracy"] == 100
    assert classification(records, [""] * 30).metrics["accuracy"] == 0
    assert classification(records, AID[1:] + AID[:1]).metrics["accuracy"] == 0


def test_nothing_to_score_is_none_not_zero():
    assert set(classification([], []).metrics.values()) == {None}


def test_a_very_long_answer_takes_no_time():
    started = time.process_time()
    assert classes_named("pond " * 50_000, CLASSES) == ["Pond"]
    assert time.process_time() - started < 10
