import json
import tarfile

import pytest

from skyeye.curate.detect.folder import detect_formats
from skyeye.errors import SkyEyeError

CAPTIONS = {"images": [{"filename": f"{n}.jpg", "split": "train", "sentences": [{"raw": "a"}]} for n in range(4)]}
LLAVA = [{"image": "1.jpg", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]
COCO = {"categories": [{"id": 1, "name": "ship", "supercategory": "none"}], "images": [], "annotations": []}
DOTA = "imagesource:GoogleEarth\ngsd:0.1\n1.0 2.0 30.0 2.0 30.0 40.0 1.0 40.0 large-vehicle 0\n"
YOLO = "0 0.5 0.5 0.2 0.2\n"
VOC = "<annotation><object><name>a</name><bndbox></bndbox></object></annotation>"
FAIR1M = "<annotation><objects><object><points></points></object></objects></annotation>"
EXPRESSION = VOC.replace("</object>", "<description>a ship</description></object>")


@pytest.fixture
def found(tmp_path):
    """Writes files and tells what is recognised: (format, path below the folder, what else is set)."""

    def found(files: dict[str, object], below: str = "."):
        for name, content in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content if isinstance(content, str) else json.dumps(content))
        sources = [source for _, source in detect_formats(tmp_path / below).sources]
        return [
            (s.format, str(s.path).removeprefix(str(tmp_path)).strip("/"), s.images, s.split, s.options)
            for s in sources
        ]

    return found


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.json": CAPTIONS}, [("karpathy", "a.json")]),
        ({"a.json": {"dataset": "x", **CAPTIONS}}, [("karpathy", "a.json")]),
        ({"a.json": LLAVA, "b.json": [{"text": "a"}]}, [("llava", "a.json"), ("llava", "b.json")]),
        ({"a.json": {"data": LLAVA}}, [("llava", "a.json")]),
        ({"lhrs.json": [{"name": "1.jpg", "conv": [{"Question": "a"}]}]}, [("llava", "lhrs.json")]),
        ({"a.jsonl": json.dumps(LLAVA[0])}, [("llava", "a.jsonl")]),
        ({"mine.jsonl": '{"image": "a.jpg"}\n'}, [("jsonl", "mine.jsonl")]),
        ({"instances.json": COCO}, [("coco", "instances.json")]),
        ({"dataset_nwpu.json": {"a": [{"filename": "1.jpg", "raw": "a"}]}}, [("nwpu_captions", "dataset_nwpu.json")]),
        ({"c.json": {"ERA_caption": []}}, [("capera", "c.json")]),
        ({"LR_split_test_questions.json": {}, "LR_split_test_images.json": {}}, [("rsvqa", "")]),
        ({"RSVQAxBEN_split_val_questions.json": {}}, [("rsvqa", "")]),
        ({"HR/USGS_split_test_phili_questions.json": {}}, [("rsvqa", "HR")]),
        ({"train_filename.txt": "a.tif\n", "train_caps.txt": "a ship\n"}, [("rsitmd", "")]),
        ({"DOTA/dota_train_vqa2.txt": "P0: how many?3\n"}, [("rsivqa", "DOTA/dota_train_vqa2.txt")]),
        ({"ucm_vqa.txt": "1.tif:is it?no\n", "ucm_res.txt": "1.tif:is it?no\n"}, [("rsivqa", "")]),
        (
            {"vqa.txt": "1.tif:is it?no\n", "other.txt": "1.tif:is it?no\n"},
            [("rsivqa", "other.txt"), ("rsivqa", "vqa.txt")],
        ),
        ({"hr_train.txt": "a.jpg,1.5,2,3,4,a ship\n"}, [("rsvg", "hr_train.txt")]),
        ({"a_train.txt": "a.jpg,1,2,3,4,x\n", "a_test.txt": "a.jpg,1,2,3,4,x\n"}, [("rsvg", "")]),
        ({"labelTxt/P0.txt": DOTA}, [("dota", "")]),
        ({"train/labelTxt/P0.txt": DOTA, "val/labelTxt/P1.txt": DOTA}, [("dota", "train"), ("dota", "val")]),
        ({"labels/train/1.txt": YOLO, "labels/val/2.txt": YOLO, "a.yaml": "names: [a]"}, [("yolo", "")]),
        ({"1.txt": YOLO, "a.names": "ship\n"}, [("yolo", "")]),
        ({"ground truth/001.txt": "( 1, 2),(3,4),10 \n", "readme.txt": "about"}, [("nwpu_vhr10", "")]),
        ({"001.txt": "(1,2),(3,4),10\n"}, [("nwpu_vhr10", "")]),
        ({"Annotations/1.xml": VOC, "ImageSets/Main/train.txt": "1\n"}, [("voc", "")]),
        ({"Annotations/Horizontal Bounding Boxes/1.xml": VOC}, [("voc", "")]),
        ({"part1/labelXml/1.xml": FAIR1M}, [("fair1m", "part1")]),
        ({"00001.xml": EXPRESSION, "train.txt": "0\n", "val.txt": "1\n"}, [("dior_rsvg", "")]),
        ({"Annotations/00001.xml": EXPRESSION, "train.txt": "0\n"}, [("dior_rsvg", "")]),
        ({"vqa/vqa_train.json": LLAVA, "regions.jsonl": "{}\n"}, [("synthetic", "")]),
        ({"index.json": {"format": "skyeye-shards"}, "shard-00000.tar": ""}, [("shards", "")]),
        ({"t/caption/caption_RSICD_train.json": LLAVA, "t/vqa/UCMvqa.json": LLAVA}, [("skyeye968k", "t")]),
        ({"rsvg.json": LLAVA}, [("skyeye968k", "rsvg.json")]),
        (
            {"caption/caption_RSICD_train.json": LLAVA, "images/RSICD/dataset.json": CAPTIONS},
            [("skyeye968k", "caption"), ("karpathy", "images/RSICD/dataset.json")],
        ),
        ({"b/a.json": CAPTIONS, "a/labelTxt/P0.txt": DOTA}, [("dota", "a"), ("karpathy", "b/a.json")]),
        ({"P0.txt": DOTA, "dota_vqa.txt": "P0: how many?3\n"}, [("rsivqa", "dota_vqa.txt"), ("dota", "")]),
        ({".cache/a.json": CAPTIONS, "a.json": CAPTIONS}, [("karpathy", "a.json")]),
    ],
)
def test_annotations_without_images(found, files, expected):
    assert [entry[:2] for entry in found(files)] == expected


def test_pairs_in_tar_files(tmp_path, write_images):
    write_images(tmp_path, "0.jpg")
    (tmp_path / "0.txt").write_text("a ship")
    (tmp_path / "set").mkdir()
    with tarfile.open(tmp_path / "set/00000.tar", "w") as tar:
        tar.add(tmp_path / "0.jpg", "0.jpg")
        tar.add(tmp_path / "0.txt", "0.txt")
    assert [(s.format, s.path) for _, s in detect_formats(tmp_path / "set").sources] == [
        ("webdataset_pairs", str(tmp_path / "set"))
    ]


@pytest.mark.parametrize(
    ("names", "path"),
    [
        (("AID/BareLand/1.jpg", "AID/Pond/2.jpg"), "AID"),
        (
            ("UCMerced_LandUse/Images/agricultural/1.tif", "UCMerced_LandUse/Images/beach/1.tif"),
            "UCMerced_LandUse/Images",
        ),
        (("EuroSAT/2750/Forest/1.jpg", "EuroSAT/2750/River/1.jpg"), "EuroSAT/2750"),
        (("WHU-RS19/Airport/1.jpg", "WHU-RS19/Beach/1.jpg"), "WHU-RS19"),
        (("R/train/a/1.jpg", "R/train/b/1.jpg", "R/test/a/2.jpg", "R/test/b/2.jpg"), "R"),
    ],
)
def test_class_folders(found, tmp_path, write_images, names, path):
    write_images(tmp_path, *names)
    assert [entry[:2] for entry in found({})] == [("class_folders", path)]


@pytest.mark.parametrize(
    "names",
    [
        ("a.jpg", "imgs/1.jpg"),
        ("JPEGImages-trainval/1.jpg", "JPEGImages-test/2.jpg"),
        ("UCMerced/1.tif", "DOTA/P0.png"),  # the image folders of SkyEye-968k
        ("train/1.jpg", "val/1.jpg"),
        ("Pond/1.jpg", "Pond/2.jpg"),  # one folder is no classification
    ],
)
def test_pictures_and_nothing_else(found, tmp_path, write_images, names):
    write_images(tmp_path, *names)
    assert found({}) == []
    assert detect_formats(tmp_path / names[0]).sources == []


def test_classes_and_questions_keep_to_the_split_of_the_captions(found, tmp_path, write_images):
    write_images(tmp_path, *(f"images/{'Pond' if n % 2 else 'Park'}/{n}.jpg" for n in range(4)))
    files = {"captions.json": CAPTIONS, "vqa.txt": "1.jpg:is it?no\n2.jpg:is it?yes\n", "x_vqa.txt": "9.jpg:is it?no\n"}
    split = {"split_file": str(tmp_path / "captions.json")}
    assert [(format, options) for format, *_, options in found(files)] == [
        ("karpathy", {}),
        ("rsivqa", {}),
        ("class_folders", split),
    ]
    (tmp_path / "x_vqa.txt").unlink()
    assert [(format, options) for format, *_, options in found({})] == [
        ("karpathy", {}),
        ("rsivqa", split),
        ("class_folders", split),
    ]


def test_images_beside_the_annotations(found, tmp_path, write_images):
    write_images(tmp_path, "images/1.jpg")
    assert found({"annotations/c.json": CAPTIONS})[0][2] == str(tmp_path / "images")
    write_images(tmp_path, "annotations/deep/1.jpg")
    assert found({})[0][2] is None


def test_yolo_class_names_and_split(found, tmp_path):
    files = {"train/labels/1.txt": YOLO, "valid/labels/2.txt": YOLO, "data.yaml": "names: [ship]"}
    names = {"names": str(tmp_path / "data.yaml")}
    assert found(files) == [
        ("yolo", "train", None, None, {"splits": {"train": ["*"]}, **names}),
        ("yolo", "valid", None, None, {"splits": {"val": ["*"]}, **names}),
    ]


def test_many_label_files_are_taken_to_be_alike(found, tmp_path):
    files = {f"labels/{n}.txt": YOLO for n in range(300)} | {"labels/000.txt": "", "a.names": "ship"}
    assert [entry[:2] for entry in found(files)] == [("yolo", "")]


def test_never_above_what_was_given(found):
    assert [entry[:2] for entry in found({"set/labelTxt/P0.txt": DOTA}, "set/labelTxt")] == [("dota", "set/labelTxt")]


def test_single_files(tmp_path, found):
    found(
        {
            "c.json": CAPTIONS,
            "USGS_split_test_phili_questions.json": {},
            "l/1.txt": YOLO,
            "v_train.txt": "a.jpg,1,2,3,4,x",
        }
    )
    found({"rsvg.json": LLAVA})
    assert detect_formats(tmp_path / "c.json").sources[0][1].format == "karpathy"
    assert detect_formats(tmp_path / "rsvg.json").sources[0][1].format == "skyeye968k"
    ((_, source),) = detect_formats(tmp_path / "USGS_split_test_phili_questions.json").sources
    assert (source.format, source.path, source.split) == ("rsvqa", str(tmp_path), "test_phili")
    assert detect_formats(tmp_path / "v_train.txt").sources[0][1].format == "rsvg"
    with pytest.raises(SkyEyeError, match="is one label file .yolo.*give the folder"):
        detect_formats(tmp_path / "l/1.txt")


def test_names_are_the_paths_below_the_folder(tmp_path, found):
    found({"a b/c.json": CAPTIONS, "d/labelTxt/1.txt": DOTA, "d/x_vqa.txt": "1: is?no", "d/y_vqa.txt": "1: is?no"})
    assert [name for name, _ in detect_formats(tmp_path).sources] == ["a_b_c", "d_rsivqa", "d_dota"]
    assert [name for name, _ in detect_formats(tmp_path / "a b").sources] == ["c"]


def test_nothing_known(tmp_path, found):
    with pytest.raises(SkyEyeError, match="nothing known lies here .looked for: SkyEye-968k, LLaVA"):
        found({"notes.txt": "some words\n", "x.json": "{}", "list.json": "[1]", "broken.tar": "x", "p.xml": "<a/>"})
    with pytest.raises(SkyEyeError, match="no such file or folder"):
        detect_formats(tmp_path / "x")


def test_what_fits_nothing_is_named(tmp_path, found):
    found({"c.json": CAPTIONS, "odd/x.json": "{}", "readme.txt": "words", "LICENSE.txt": "words"})
    assert detect_formats(tmp_path).unknown == [tmp_path / "odd/x.json"]


def test_circles_of_links_end(tmp_path, found):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/back").symlink_to(tmp_path)
    assert [entry[:2] for entry in found({"a/c.json": CAPTIONS})] == [("karpathy", "a/c.json")]
