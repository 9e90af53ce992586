"""What is wrong with a row of a benchmark's file costs that row: named, and counted."""

import json

import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems
from skyeye.errors import SkyEyeError

NAN = float("nan")
VRS = {"image_id": "a.png", "question": "q", "ground_truth": "yes", "question_id": 1, "type": "object existence"}
BOX = {**VRS, "ground_truth": "{<1><2><3><4>}", "is_unique": True}
GEO = {
    "image_path": "a.png",
    "prompts": ["q?"],
    "options_list": ["x", "y"],
    "ground_truth_option": "A",
    "question_id": 1,
}
XLRS = {"image": "a.png", "question": "q?", "multi-choice options": ["x", "y"], "answer": "A"}
VHM = {"image": "a.png", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
#: Format, options, a sound row, and rows that are not, with the kind that is told.
CASES = [
    (
        "vrsbench",
        {"task": "vqa"},
        VRS,
        [({"ground_truth": NAN}, "no answer"), ({"question": ""}, "no question"), ({"image_id": None}, "no image")],
    ),
    (
        "vrsbench",
        {"task": "refer"},
        BOX,
        [
            ({"ground_truth": "none"}, "no box"),
            ({"ground_truth": "{<1><2><3><101>}"}, "box outside the image"),
            ({"ground_truth": "{<9><2><3><4>}"}, "inverted box"),
            ({"image_id": "gone.png"}, "missing image"),
        ],
    ),
    ("vrsbench", {"task": "caption"}, VRS, [({"ground_truth": []}, "no answer")]),
    (
        "geobench_vlm",
        {},
        GEO,
        [
            ({"options_list": ["x"]}, "no options"),
            ({"options_list": ["x", "x"]}, "no options"),
            ({"ground_truth_option": "C"}, "no answer"),
            ({"prompts": []}, "no question"),
            ({"image_path": NAN}, "no image"),
        ],
    ),
    (
        "xlrs_bench",
        {},
        XLRS,
        [({"answer": NAN}, "no answer"), ({"image": None}, "no image")],
    ),
    (
        "vhm_eval",
        {},
        VHM,
        [
            ({"conversations": []}, "no conversation"),
            ({"conversations": NAN}, "no conversation"),
            ({"image": ""}, "no image"),
        ],
    ),
]


@pytest.mark.parametrize(("format", "options", "sound", "rows"), CASES, ids=lambda value: str(value)[:24])
def test_rows_that_are_not_sound(tmp_path, write_images, format, options, sound, rows):
    write_images(tmp_path, "a.png")
    items = [*[sound] * 6, *[{**sound, **change} for change, _ in rows], "no row"]
    place = tmp_path / "Single" if format == "geobench_vlm" else tmp_path
    place.mkdir(exist_ok=True)
    (place / "qa.json").write_text(json.dumps(items))
    source = SourceConfig(format, str(place / "qa.json"), str(tmp_path), None, options)
    records, problems = read_with_problems(source, "x")
    wrong = [kind for _, kind in rows]
    assert [problem.kind for problem in problems] == [*wrong, "not a record"]
    assert len(records) == len(items) - 1 - len(wrong)
    assert all(f"record {6 + number}" in problem.where for number, problem in enumerate(problems))


@pytest.mark.parametrize(
    ("format", "content", "said"),
    [
        ("lhrs_bench", {"qtype": {}}, "has no list `data`"),
        ("rsieval", {"x": 1}, "has no list `annotations`"),
        ("levir_cc", {}, "has no list `images`"),
    ],
)
def test_files_of_another_shape(tmp_path, format, content, said):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(SkyEyeError, match=said):
        read_with_problems(SourceConfig(format, str(tmp_path / "a.json")), "x")


def test_entries_without_questions_are_counted(tmp_path, write_images):
    write_images(tmp_path, "1.png")
    pair = {"question": "q", "choices": "A. x; B. y", "answer": "B", "type": ["1"]}
    data = [{"filename": "1.png", "qa_pairs": [pair, {**pair, "answer": "C"}, 5]}, {"filename": "1.png"}, "no entry"]
    (tmp_path / "qa.json").write_text(json.dumps({"data": [*data, {"filename": "1.png", "qa_pairs": [pair] * 4}]}))
    records, problems = read_with_problems(SourceConfig("lhrs_bench", str(tmp_path / "qa.json"), str(tmp_path)), "x")
    assert len(records) == 5
    assert [p.kind for p in problems] == ["no answer", "not a record", "no question", "not a record"]


def test_a_pair_wants_both_images(tmp_path, write_images):
    write_images(tmp_path, "test/A/1.png", "test/B/1.png", "test/A/2.png")
    said = [{"raw": "a"}, {"raw": "b"}]
    entries = [{"filename": f"{n}.png", "split": "test", "sentences": said, "changeflag": 1} for n in (1, 2)]
    (tmp_path / "a.json").write_text(json.dumps({"images": entries}))
    records, problems = read_with_problems(SourceConfig("levir_cc", str(tmp_path / "a.json"), str(tmp_path)), "x")
    assert [len(r.images) for r in records] == [2] and [(p.kind, p.count) for p in problems] == [("missing image", 2)]
