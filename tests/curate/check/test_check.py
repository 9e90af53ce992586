"""The whole check on small sets whose counts are known because they were written here."""

import json

import numpy as np
import pytest
from PIL import Image

from skyeye import cli
from skyeye.curate.check import check, format_text
from skyeye.curate.target import open_target
from skyeye.data.images.hashing import perceptual_hash
from skyeye.errors import SkyEyeError


def llava(image: str, question: str, answer: str) -> dict:
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"image": image, "conversations": turns}


def examples(report: dict, kind: str) -> list[dict]:
    parts = [*report["sources"], report]
    return [e for part in parts for k in part["details"] if k["kind"] == kind for e in k["examples"]]


def sums_are_right(report: dict) -> bool:
    parts = [report, *report["sources"]]
    assert report["records_in"] == sum(part["records_in"] for part in report["sources"])
    return all(part["records_in"] == part["records_out"] + sum(part["reported"].values()) for part in parts)


@pytest.fixture
def tree(tmp_path_factory, write_pictures):
    """Training and test files over pictures; a function writes the records and checks both files."""
    root = tmp_path_factory.mktemp("tree")
    write_pictures(root / "images", a=1, b=2, c=3, d=4)

    def run(train: list, test: list = (), **options) -> dict:
        (root / "vqa_train.json").write_text(json.dumps(train))
        if test:
            (root / "vqa_test.json").write_text(json.dumps(test))
        report = check(open_target(root, format="skyeye968k", images=root / "images"), **options)
        assert sums_are_right(report)
        json.dumps(report)
        return report

    run.root, run.images = root, root / "images"
    return run


def test_a_sound_set(tree):
    report = tree(
        [llava("a", "[vqa] how many?", "3"), llava("b", "[vqa] how many?", "4")], [llava("c", "[vqa] what?", "5")]
    )
    assert report["sound"] and report["findings"] == {"image without records": 1}
    assert (report["records_in"], report["records_out"], report["reported"], report["images"]) == (3, 3, {}, 4)
    (source,) = report["sources"]
    assert source["splits"] == {"train": 2, "test": 1} and source["tasks"] == {"vqa": 3} and source["images"] == 3
    assert format_text(report).endswith("\nsound")


def test_a_picture_of_a_few_grey_levels_is_a_note(tree):
    Image.new("RGB", (64, 64), (5, 5, 3)).save(tree.images / "a.png")
    report = tree([llava("a", "[vqa] how many?", "3"), llava("a", "[vqa] what?", "3"), llava("b", "[vqa] what?", "x")])
    assert report["sound"] and report["findings"]["nearly constant image"] == 1
    assert "a.png shows 0 grey levels of 256" in examples(report, "nearly constant image")[0]["what"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_picture_of_complex_numbers_costs_its_records_only(tree):
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo: pip install skyeye[geo]")
    profile = {"driver": "GTiff", "count": 1, "height": 9, "width": 9, "dtype": "complex64"}
    with rasterio.open(tree.images / "e.tif", "w", **profile) as file:
        file.write(np.ones((1, 9, 9), np.complex64))
    report = tree([llava("a", "[vqa] how many?", "3"), llava("e", "[vqa] how many?", "4")])
    assert report["reported"] == {"unreadable image": 1} and report["records_out"] == 1
    assert "complex numbers (complex64)" in examples(report, "unreadable image")[0]["what"]


def test_records_that_do_not_come_out_are_counted_by_kind(tree):
    image = tree.images / "d.png"
    image.write_bytes(image.read_bytes()[:-300])
    report = tree(
        [
            llava("a", "[vqa] how many?", "3"),
            llava("a", "[vqa] how large?", ""),
            llava("nowhere", "[vqa] how large?", "3"),
            llava("d", "[vqa] how many?", "3"),
            llava("d", "[vqa] how large?", "4"),
            llava("a", "[refer] where", "{<9><1><2><3>}"),
        ]
    )
    reported = {"no answer": 1, "missing image": 1, "unreadable image": 2, "inverted box": 1}
    assert report["reported"] == reported and report["records_out"] == 1 and not report["sound"]
    assert report["images"] == 3 and report["unreadable_images"] == 1
    assert "vqa_train.json, record 3" in examples(report, "unreadable image")[0]["where"]
    assert "NOT sound" in format_text(report) and "2 x unreadable image" in format_text(report)


def test_without_decoding_a_truncated_image_is_taken_for_sound(tree):
    image = tree.images / "d.png"
    image.write_bytes(image.read_bytes()[:-300])
    assert tree([llava("d", "[vqa] how many?", "3")], decode=False)["reported"] == {}


def test_an_image_of_both_sides_is_an_error(tree):
    report = tree([llava("a", "[vqa] how many?", "3")], [llava("images/a.png", "[vqa] what?", "5")])
    assert report["findings"]["image in training and evaluation"] == 1 and not report["sound"]
    (example,) = examples(report, "image in training and evaluation")
    assert "vqa_test.json, record 0" in example["where"] and "vqa_train.json, record 0" in example["what"]


def test_copies_of_a_training_image_are_an_error_and_look_alikes_a_note(tree, picture):
    picture(1).save(tree.images / "copy.bmp")
    marked = picture(2)
    marked.paste((255, 255, 255), (0, 0, 7, 7))
    marked.save(tree.images / "marked.png")
    bits = (perceptual_hash(marked) ^ perceptual_hash(picture(2))).bit_count()
    assert 0 < bits <= 6
    train = [llava("a", "[vqa] how many?", "3"), llava("b", "[vqa] how many?", "3")]
    report = tree(train, [llava("marked", "[vqa] what?", "5")])
    assert report["sound"] and report["findings"]["similar image in training and evaluation"] == 1
    assert f"({bits} of 64 bits differ)" in examples(report, "similar image in training and evaluation")[0]["what"]
    report = tree(train, [llava("marked", "[vqa] what?", "5")], threshold=bits - 1)
    assert "similar image in training and evaluation" not in report["findings"]
    report = tree(train, [llava("copy", "[vqa] what?", "5")])
    assert report["findings"]["same pixels in training and evaluation"] == 1 and not report["sound"]
    assert report["findings"]["copy of an image"] == 1


def test_repetitions_and_contradictions_are_notes(tree):
    train = [llava("a", "[vqa] how many?", answer) for answer in ("3", "3", "4")]
    report = tree([*train, llava("b", "[vqa] how many?", "4"), llava("a", "[caption] describe", "a pier")])
    assert report["sound"]
    assert report["findings"]["duplicate record"] == 1 and report["findings"]["contradicting answers"] == 1
    assert "record 2" in examples(report, "contradicting answers")[0]["where"]


def test_answers_of_one_side_are_told(tree):
    train = [llava("a", f"[vqa] {n}?", "yes" if n else "rare") for n in range(12)]
    report = tree(train, [llava("b", f"[vqa] {n}?", "yes" if n else "odd") for n in range(12)])
    (entry,) = report["vocabulary"].values()
    assert entry["never in evaluation"] == {"rare": 1} and entry["never in training"] == {"odd": 1}
    assert report["findings"]["answer never in training"] == 1
    assert "1 of 3 answers never in training: odd (1)" in format_text(report)


def test_large_images_are_noted_once(tree):
    Image.new("L", (2049, 20), 7).save(tree.images / "wide.png")
    report = tree([llava("wide", f"[vqa] {n}?", "yes") for n in range(3)])
    assert report["findings"]["very large image"] == 1
    assert "2049 x 20" in examples(report, "very large image")[0]["what"]


def test_an_unreadable_picture_that_no_record_shows(tree):
    (tree.images / "broken.png").write_text("no picture")
    report = tree([llava("a", "[vqa] 1?", "yes")])
    assert report["records_out"] == 1 and report["unreadable_images"] == 1 and not report["sound"]


def test_pictures_alone(tmp_path, write_pictures):
    write_pictures(tmp_path / "deep/er", a=1, b=2)
    report = check(tmp_path)
    assert (report["records_in"], report["records_out"], report["reported"], report["images"]) == (0, 0, {}, 2)
    assert report["findings"] == {"image without records": 2, "no record": 1} and not report["sound"]
    assert "no annotations, 0 files of no known format, 2 other pictures" in examples(report, "no record")[0]["what"]


def test_a_file_of_no_known_format_is_a_finding(tmp_path, write_pictures):
    write_pictures(tmp_path / "image", **{"1": 1, "2": 2})
    captions = {"annotations": [{"image_id": "1", "caption": "a quay"}]}
    (tmp_path / "filter_cap.json").write_text(json.dumps(captions))
    report = check(tmp_path)
    assert not report["sound"]
    assert report["findings"] == {"image without records": 2, "annotation file not recognised": 1, "no record": 1}
    (named,) = examples(report, "annotation file not recognised")
    assert named["where"] == str(tmp_path / "filter_cap.json")


def test_a_file_of_no_known_format_beside_sound_data_is_a_note(tree):
    (tree.root / "odd.json").write_text("{}")
    (tree.root / "vqa_train.json").write_text(json.dumps([llava("a", "[vqa] how many?", "3")]))
    report = check(open_target(tree.root))
    assert report["findings"]["annotation file not recognised"] == 1 and report["sound"]


def test_the_report_is_the_same_for_any_number_of_workers(tree, picture):
    picture(2).resize((90, 90)).save(tree.images / "small.jpg", quality=80)
    rows = (
        [llava("a", "[vqa] how many?", "3"), llava("b", "[vqa] how many?", "3")],
        [llava("small", "[vqa] what?", "5")],
    )
    assert tree(*rows, workers=1) == tree(*rows, workers=4)


@pytest.fixture
def recipe(tmp_path, write_pictures):
    """A recipe whose one source keeps the training split of a captions file."""
    write_pictures(tmp_path / "images", a=1, b=2, c=3)
    rows = [("a", "train"), ("b", "train"), ("c", "test")]

    def write(rows=rows, source="split: train") -> str:
        images = [{"filename": f"{n}.png", "split": s, "sentences": [{"raw": f"a pier {n} {s}"}]} for n, s in rows]
        (tmp_path / "set.json").write_text(json.dumps({"dataset": "Set", "images": images}))
        (tmp_path / "r.yaml").write_text(
            f"name: t\noutput_dir: o\nmodel: {{language: {{config: {{model_type: llama}}}}}}\n"
            f"sources: {{set: {{format: karpathy, path: {tmp_path}/set.json, {source}}}}}\n"
            "stages: [{name: one, steps: 2000, mixture: [{source: set}]}]\n"
        )
        return str(tmp_path / "r.yaml")

    return write


def test_a_recipe_is_compared_with_what_its_sources_hold_out(recipe):
    report = check(recipe())
    assert report["sound"] and (report["records_in"], report["records_out"], report["images"]) == (2, 2, 2 + 1)
    assert report["sources"][0]["images"] == 2
    report = check(recipe(rows=[("a", "train"), ("b", "train"), ("b", "test")]))
    assert report["findings"] == {"image in training and evaluation": 1} and report["records_in"] == 2


def test_a_recipe_that_trains_on_test_records(recipe):
    report = check(recipe(source="split: null"))
    assert report["findings"] == {"evaluation record in training": 1} and report["records_in"] == 3


def test_what_is_trained_on_is_training_whatever_the_set_meant_it_for(recipe, tmp_path):
    path = recipe(source="split: null")
    more = f"{{format: karpathy, path: {tmp_path}/set.json, images: {tmp_path}/images/../images, split: train}}"
    text = (tmp_path / "r.yaml").read_text().replace("sources: {", f"sources: {{again: {more}, ")
    (tmp_path / "r.yaml").write_text(text.replace("[{source: set}]", "[{source: set}, {source: again}]"))
    report = check(path)
    assert report["findings"]["image in training and evaluation"] == 1  # c: held out by one source, used by the other
    assert report["images"] == 3  # one picture has one name, however its folder is written


def test_training_on_val_is_not_compared_with_the_training_split(recipe):
    report = check(recipe(rows=[("a", "train"), ("a", "val"), ("b", "test")], source="split: val"))
    assert report["findings"] == {"evaluation record in training": 1}


def test_an_unreadable_image_that_is_held_out_costs_no_record(recipe, tmp_path):
    path = recipe()
    (tmp_path / "images/c.png").write_text("no picture")
    report = check(path)
    assert (report["records_out"], report["reported"], report["unreadable_images"]) == (2, {}, 1) and report["sound"]


def test_a_source_that_cannot_be_read_does_not_hide_the_others(recipe, tmp_path):
    path = recipe()
    text = (tmp_path / "r.yaml").read_text().replace("sources: {", "sources: {gone: {format: dota, path: nowhere}, ")
    text = text.replace("[{source: set}]", "[{source: set}, {source: gone}]")
    (tmp_path / "r.yaml").write_text(text)
    report = check(path)
    assert report["reported"] == {"source cannot be read": 1} and report["records_out"] == 2
    assert sums_are_right(report) and "nowhere does not exist" in examples(report, "source cannot be read")[0]["what"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nowhere", {}, "no such file or folder"),
        ("empty", {}, "nothing known lies here"),
        ("a.png", {}, "is one picture"),
        ("r.yaml", {"format": "dota"}, "a recipe says format, images and options itself"),
        ("empty", {"format": "dotta"}, "did you mean 'dota'?"),
    ],
)
def test_mistakes(tmp_path, recipe, picture, name, options, message):
    recipe()
    (tmp_path / "empty").mkdir()
    picture(1).save(tmp_path / "a.png")
    with pytest.raises(SkyEyeError) as error:
        open_target(tmp_path / name, **options)
    assert message in str(error.value)


def test_the_command_writes_the_report_and_returns_what_it_found(tree, tmp_path, capsys):
    tree([llava("a", "[vqa] how many?", "3")], [llava("b", "[vqa] what?", "")])
    arguments = ["data", "check", str(tree.root), "--format", "skyeye968k", "--images", str(tree.images)]
    assert cli.main([*arguments, "--json", str(tmp_path / "out/report.json")]) == 1
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["records_in"] == 2 and report["reported"] == {"no answer": 1} and report["images"] == 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]
    assert "1 x no answer" in capsys.readouterr().out
    tree([llava("a", "[vqa] how many?", "3")], [llava("b", "[vqa] what?", "1")])
    assert cli.main(arguments) == 0
    (tree.images / "b.png").write_bytes((tree.images / "b.png").read_bytes()[:-300])
    assert cli.main([*arguments, "--no-decode"]) == 0
    assert cli.main(arguments) == 1
    assert cli.main([*arguments, "--threshold", "60"]) == 2
    assert cli.main(["data", "check", str(tmp_path / "nowhere")]) == 2
