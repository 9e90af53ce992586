import shutil

import pytest

from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import BENCHMARKS
from skyeye.eval.benchmarks.published import size_note

PROMPT = "[caption] briefly describe the image"
CAPTIONS = ["A Field .", "There is a field."]


def image(name, split):
    return {"filename": name, "split": split, "sentences": [{"raw": caption} for caption in CAPTIONS]}


def nwpu(name, split):
    return {"filename": name, "split": split, "raw": CAPTIONS[0], "raw_1": CAPTIONS[1]}


#: name -> (annotation file, its content, folder of the images, image names of the test split)
KARPATHY = {"images": [image("a_1.jpg", "train"), image("a_2.jpg", "test"), image("b_1.jpg", "test")]}
MADE = {
    "rsicd.caption": ("RSICD/dataset_rsicd.json", KARPATHY, "RSICD/RSICD_images", ["a_2.jpg", "b_1.jpg"]),
    "ucm.caption": ("UCM_captions/dataset.json", KARPATHY, "UCM_captions/imgs", ["a_2.jpg", "b_1.jpg"]),
    "sydney.caption": ("Sydney_captions/dataset.json", KARPATHY, "Sydney_captions/imgs", ["a_2.jpg", "b_1.jpg"]),
    "rsitmd.caption": ("RSITMD/dataset_RSITMD.json", KARPATHY, "RSITMD/images", ["a_2.jpg", "b_1.jpg"]),
    "nwpu.caption": (
        "NWPU-Captions/dataset_nwpu.json",
        {"a": [nwpu("a_1.jpg", "train"), nwpu("a_2.jpg", "test")], "b": [nwpu("b_1.jpg", "test")]},
        "NWPU-RESISC45/b",
        ["a_2.jpg", "b_1.jpg"],
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_made_sets(tmp_path, write, write_images, load, score, name):
    annotations, content, images, tested = MADE[name]
    write(tmp_path / annotations, content)
    write_images(tmp_path / images, "a_1.jpg", "a_2.jpg", "b_1.jpg")
    roots = [tmp_path, tmp_path / annotations.split("/")[0]]
    for root in roots if name != "nwpu.caption" else roots[:1]:  # the images of NWPU-Captions lie in another set
        records = load(name, root)
        assert [record.id for record in records] == tested
        assert {record.turns[0].question for record in records} == {PROMPT}
        assert {tuple(record.references["captions"]) for record in records} == {tuple(CAPTIONS)}
    with pytest.raises(SkyEyeError, match="nothing here is named .*dataset"):
        load(name, tmp_path / images)
    shutil.rmtree(tmp_path / images)
    for root in roots:
        assert [(r.id, r.images) for r in load(name, root, "keep")] == [(n, (f"absent:{n}",)) for n in tested]
        with pytest.raises(SkyEyeError, match="none of 2 records has its image"):
            BENCHMARKS[name].load(root)
    benchmark = BENCHMARKS[name]
    published = f"2 of {benchmark.published.records:,} published records: not comparable with published numbers"
    assert size_note(benchmark, records) == published


def test_a_caption_of_each_image_said_of_the_other(tmp_path, write, write_images, load, score):
    """CIDEr x 100: 1000 for a caption that is every reference, 0 where no word is shared."""
    first, second = ({"raw": "one two three four five"}, {"raw": "six seven eight nine ten"})
    images = [{"filename": f"{n}.tif", "split": "test", "sentences": [s] * 2} for n, s in enumerate((first, second))]
    write(tmp_path / "UCM_captions/dataset.json", {"images": images})
    write_images(tmp_path / "UCM_captions/imgs", "0.tif", "1.tif")
    records = load("ucm.caption", tmp_path)
    assert score("ucm.caption", records, [first["raw"], second["raw"]]) == pytest.approx(1000)
    assert score("ucm.caption", records, [second["raw"], first["raw"]]) == 0
    assert score("ucm.caption", records, [first["raw"], ""]) == pytest.approx(500)


def test_the_official_file_before_a_part_of_it(tmp_path, write, write_images, load):
    write(tmp_path / "AID_RSICD/dataset_rsicd_part.json", {"images": [image("part.jpg", "test")]})
    write_images(tmp_path, "AID_RSICD/images/part.jpg", "original/RSICD_images/whole.jpg")
    assert [r.id for r in load("rsicd.caption", tmp_path)] == ["part.jpg"]
    write(tmp_path / "RSICD/dataset_rsicd.json", {"images": [image("whole.jpg", "test")]})
    (record,) = load("rsicd.caption", tmp_path)
    assert record.images == (f"{tmp_path}/original/RSICD_images/whole.jpg",)


def test_rsitmd_as_lists(tmp_path, write, write_images, load):
    write(tmp_path / "RSITMD/train_filename.txt", "a_1.tif\n")
    write(tmp_path / "RSITMD/train_caps.txt", "x\ny\n")
    with pytest.raises(SkyEyeError, match="RSITMD.*/test_filename.txt; of other splits there is .*train_filename.txt"):
        BENCHMARKS["rsitmd.caption"].load(tmp_path)
    write(tmp_path / "RSITMD/test_filename.txt", "a_2.tif\na_2.tif\n")
    write(tmp_path / "RSITMD/test_caps.txt", "x\ny\n")
    for root in (tmp_path, tmp_path / "RSITMD"):
        assert [(r.id, r.references) for r in load("rsitmd.caption", root, "keep")] == [
            ("a_2.tif", {"captions": ["x", "y"]})
        ]


def test_a_json_without_the_test_split(tmp_path, write, write_images):
    write(tmp_path / "UCM_captions/dataset.json", {"images": [image("1.tif", "train")]})
    write_images(tmp_path / "UCM_captions", "1.tif")
    with pytest.raises(SkyEyeError, match="no record of split 'test'.*known: train"):
        BENCHMARKS["ucm.caption"].load(tmp_path)


def video(*captions):
    return {"video_id": "Car_1.mp4", "annotation": {"English_caption": list(captions)}}


def test_videos_of_capera(tmp_path, write, write_images, load):
    write(tmp_path / "CapERA/CapERA_DATASET_train.json", {"ERA_caption": [video("train")]})
    write_images(tmp_path / "ERA/SingleFrames/Tra", "Car_1.jpg")
    with pytest.raises(SkyEyeError, match="CapERA.*test.*; of other splits there is .*CapERA_DATASET_train.json"):
        BENCHMARKS["capera.caption"].load(tmp_path)
    write(tmp_path / "CapERA/CapERA_DATASET_test.json", {"ERA_caption": [video("a", "b")]})
    write_images(tmp_path / "ERA/SingleFrames", "Car_1.jpg")  # of no known split
    # the training video of the same name is not the test video
    with pytest.raises(SkyEyeError, match="none of 1 records has its image"):
        BENCHMARKS["capera.caption"].load(tmp_path)
    (record,) = load("capera.caption", tmp_path / "CapERA", "keep")
    assert (record.id, record.images) == ("Car_1.mp4", ("absent:Car_1.mp4",))
    write_images(tmp_path / "ERA/SingleFrames/Test", "Car_1.jpg")
    (record,) = load("capera.caption", tmp_path)
    assert record.turns[0].question == "[caption] briefly describe the video frame image"
    assert record.references["captions"] == ["a", "b"]
    assert record.images == (f"{tmp_path}/ERA/SingleFrames/Test/Car_1.jpg",)


@pytest.mark.parametrize(
    ("name", "folder", "published"),
    [
        ("ucm.caption", "UCM_captions", 210),
        ("sydney.caption", "Sydney_captions", 58),
        ("rsitmd.caption", "annotations_only/RSITMD", 452),
    ],
)
def test_real_annotations_are_the_whole_published_test_split(real, load, score, name, folder, published):
    for root in (real, real / folder):
        records = load(name, root, "keep")
        assert len(records) == published == BENCHMARKS[name].published.records
        assert len({record.id for record in records}) == published
        assert {len(record.references["captions"]) for record in records} == {5}
        assert size_note(BENCHMARKS[name], records) is None
    first = [record.references["captions"][0] for record in records]
    assert score(name, records, [""] * published) == 0 < score(name, records, first)


def test_real_rsicd(real, load):
    for root in (real, real / "AID_RSICD"):
        records = load("rsicd.caption", root)
        assert len(records) == 480 and all(r.id == r.images[0].rsplit("/", 1)[1] for r in records)
    note = "480 of 1,093 published records: not comparable with published numbers"
    assert size_note(BENCHMARKS["rsicd.caption"], records) == note
