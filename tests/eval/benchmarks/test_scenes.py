import pytest

from skyeye.data.formats.base.splits import Splits
from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import BENCHMARKS, SUITES, scenes
from skyeye.eval.benchmarks.published import WHOLE_SETS, size_note

CLASSES = {
    "aid.scene": scenes.AID,
    "nwpu.scene": scenes.NWPU,
    "ucmerced.scene": scenes.UCMERCED,
    "eurosat.scene": scenes.EUROSAT,
    "whu_rs19.scene": scenes.WHU_RS19,
}
#: As the releases unpack.
AROUND = {
    "aid.scene": "AID",
    "nwpu.scene": "NWPU-RESISC45",
    "ucmerced.scene": "UCMerced_LandUse/Images",
    "eurosat.scene": "EuroSAT/2750",
    "whu_rs19.scene": "WHU-RS19",
}


def test_class_lists_are_as_long_as_published():
    assert set(SUITES["scenes"]) == set(CLASSES) == set(WHOLE_SETS)
    for name, classes in CLASSES.items():
        assert len(set(classes)) == len(classes) == WHOLE_SETS[name][1]


@pytest.fixture
def every(tmp_path, write_images):
    """All five sets side by side, ten images a class."""
    for name, classes in CLASSES.items():
        names = [f"{AROUND[name]}/{folder}/{folder}_{n}.png" for folder in classes for n in range(10)]
        write_images(tmp_path, *names, size=(2, 2))
    return tmp_path


@pytest.mark.parametrize("name", CLASSES)
def test_each_is_found_among_the_others(every, load, score, name):
    place = every / AROUND[name]
    rule = Splits(test_fraction=0.2)
    expected = [
        f"{c}/{c}_{n}.png" for c in sorted(CLASSES[name]) for n in range(10) if rule.of(f"{c}_{n}.png") == "test"
    ]
    for root in (every, every / AROUND[name].split("/")[0], place):
        records = load(name, root)
        assert sorted(r.id for r in records) == sorted(expected)  # the same, wherever the root is
        assert {len(r.references["classes"]) for r in records} == {len(CLASSES[name])}
    assert records[0].turns[0].question.startswith("[vqa] Classify the image within one of the given classes: ")
    truths = [record.references["answer"] for record in records]
    assert score(name, records, truths) == 100
    other = {truth: "nothing" for truth in truths} | {truths[0]: truths[0]}
    share = 100 * truths.count(truths[0]) / len(truths)
    assert score(name, records, [other[truth] for truth in truths]) == pytest.approx(share)
    images, _classes = WHOLE_SETS[name]
    assert size_note(BENCHMARKS[name], records).startswith(f"{len(records):,} of {images:,} images")
    assert "classes are there" not in size_note(BENCHMARKS[name], records)


def test_test_folders(tmp_path, write_images, load):
    for split in ("train", "val", "test"):
        write_images(tmp_path / "EuroSAT" / split, *(f"{c}/{split}_{c}.png" for c in scenes.EUROSAT))
    for root in (tmp_path, tmp_path / "EuroSAT"):
        assert [r.id for r in load("eurosat.scene", root)] == [f"test/{c}/test_{c}.png" for c in scenes.EUROSAT]


def test_a_part_of_the_classes_is_told(tmp_path, write_images):
    write_images(tmp_path / "EuroSAT", *(f"{c}/{n}.png" for c in scenes.EUROSAT[:6] for n in range(20)))
    records, _ = BENCHMARKS["eurosat.scene"].load(tmp_path)
    assert size_note(BENCHMARKS["eurosat.scene"], records).endswith("only 6 of 10 classes are there and asked for")
    for n in (1, 2):
        write_images(tmp_path / "EuroSAT", f"{scenes.EUROSAT[6 + n]}/1.png")
    write_images(tmp_path / "EuroSAT", "Glacier/1.png")  # some other set
    with pytest.raises(SkyEyeError, match="no folder here holds the class folders AnnualCrop, Forest"):
        BENCHMARKS["eurosat.scene"].load(tmp_path)


def test_two_copies_are_refused(tmp_path, write_images):
    for place in ("jpg", "tif"):
        write_images(tmp_path / place, *(f"{c}/{c}_1.png" for c in scenes.EUROSAT))
    with pytest.raises(SkyEyeError, match="2 folders hold the class folders .*/jpg, .*/tif"):
        BENCHMARKS["eurosat.scene"].load(tmp_path)


def test_the_split_of_captions_over_the_same_images(tmp_path, write, write_images, load):
    write_images(tmp_path / "AID_RSICD/images", *(f"{c}/{c}_{n}.jpg" for c in scenes.AID for n in (1, 2)), size=(2, 2))
    write_images(tmp_path / "NWPU-RESISC45", *(f"{c}/{c}_{n}.jpg" for c in scenes.NWPU for n in (1, 2)), size=(2, 2))
    listed = [{"filename": f"{c}_1.jpg", "split": "test"} for c in scenes.AID[:7]]
    write(tmp_path / "AID_RSICD/dataset_rsicd.json", {"images": listed})
    per_class = {c: [{"filename": f"{c}_2.jpg", "split": "test"}] for c in scenes.NWPU[:5]}
    write(tmp_path / "NWPU-Captions/dataset_nwpu.json", per_class)
    assert [r.id for r in load("aid.scene", tmp_path)] == [f"{c}/{c}_1.jpg" for c in scenes.AID[:7]]
    assert [r.id for r in load("nwpu.scene", tmp_path)] == [f"{c}/{c}_2.jpg" for c in scenes.NWPU[:5]]


def test_real_aid(real, load, score):
    for root in (real, real / "AID_RSICD", real / "AID_RSICD/images"):
        records = load("aid.scene", root)
        assert len(records) == 480 and {len(r.references["classes"]) for r in records} == {30}
    captions = {record.id for record in load("rsicd.caption", real)}
    assert {record.id.split("/")[1] for record in records} == captions  # no test image was seen with its caption
    assert score("aid.scene", records, [record.references["answer"] for record in records]) == 100
