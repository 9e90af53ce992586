"""Own data: which record comes out of which keys, and how each mistake is told."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import read_with_problems
from skyeye.data.formats.base.problems import Problem
from skyeye.data.formats.generic.jsonl import KEYS, annotated
from skyeye.data.formats.generic.jsonl import read as read_jsonl
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import MARK, Mention, Turn
from skyeye.errors import SkyEyeError


@pytest.fixture
def lines(tmp_path, write_images, read):
    """Objects (or raw text) of a file -> records, and what was skipped; pictures a.png and b.png are 200 x 100."""
    write_images(tmp_path, "a.png", "b.png", size=(200, 100))

    def run(*objects, split=None, name="my.jsonl", **options):
        text = "\n".join(item if isinstance(item, str) else json.dumps(item) for item in objects)
        (tmp_path / name).write_text(text)
        return read("jsonl", tmp_path / name, split=split, **options)

    return run


SOUND = {"image": "a.png", "question": "how many ships?", "answer": 2}


def test_a_question(lines, tmp_path):
    (record,), skipped = lines(SOUND)
    assert not skipped
    assert record.turns == (Turn("[vqa] how many ships?", "2"),)
    assert (record.task, record.split, record.source) == ("vqa", "train", "mine")
    assert record.images == (str(tmp_path / "a.png"),)
    assert record.references == {"answer": "2"}
    assert record.id == "my:0:question" and record.where.endswith("my.jsonl, line 1")


def test_the_task_is_the_key_or_the_tag_or_vqa(lines):
    asked = {"image": "a", "answer": "{<10><20><30><40>}"}
    records, skipped = lines(
        {**asked, "question": "[refer] where is the ship?"},
        {**asked, "question": "where is the ship?", "task": "refer"},
        {**asked, "question": "look", "task": "conversation"},
    )
    assert [(r.task, r.turns[0].question) for r in records] == [
        ("refer", "[refer] where is the ship?"),
        ("refer", "[refer] where is the ship?"),
        ("conversation", "look"),
    ]
    assert records[0].references["boxes"] == [[pytest.approx(v) for v in (0.1, 0.2, 0.3, 0.4)]]
    assert not skipped


def test_a_conversation(lines):
    turns = [{"question": "what is this?", "answer": "a harbour"}, {"question": "how many ships?", "answer": 3}]
    (record,), skipped = lines({"image": ["a.png", "b.png"], "conversation": turns})
    assert record.task == "conversation" and len(record.images) == 2 and not skipped
    assert record.turns == (Turn("what is this?", "a harbour"), Turn("how many ships?", "3"))


def test_captions_of_training_and_of_other_images(lines):
    items = [
        {"image": "a.png", "captions": ["A harbour.", "ships"], "caption": "water"},
        {"image": "b.png", "captions": ["x", "y"], "split": "test"},
    ]
    records, skipped = lines(*items)
    assert [r.split for r in records] == ["train"] * 3 + ["test"] and not skipped
    assert [r.turns[0].answer for r in records] == ["water", "a harbour", "ships", "x"]
    assert records[3].references == {"captions": ["x", "y"]}
    assert records[3].turns[0].question == "[caption] briefly describe the image"
    assert [r.split for r in lines(*items, split="test")[0]] == ["test"]


def test_boxes_in_pixels_and_in_fractions_are_the_same(lines):
    pixels = {"image": "a.png", "unit": "pixels", "boxes": [{"box": [20, 10, 120, 60], "label": "Ship"}]}
    fractions = {"image": "a.png", "unit": "normalised", "boxes": [{"box": [0.1, 0.1, 0.6, 0.6], "label": "Ship"}]}
    scaled = {**pixels, "width": 400, "height": 200, "boxes": [{"box": [40, 20, 240, 120], "label": "Ship"}]}
    for item in (pixels, fractions, scaled):
        records, skipped = lines(item)
        assert not skipped
        assert [(r.task, r.turns[0].answer) for r in records] == [
            ("refer", "{<10><10><60><60>}"),
            ("identify", "a Ship"),
            ("detection", "<p>The Ship</p> {<10><10><60><60>}"),
        ]
        assert records[0].references["phrase"] == "the Ship"


def test_a_phrase_of_a_person_is_asked_as_it_stands(lines):
    boxes = [
        {"box": [0.1, 0.1, 0.3, 0.3], "phrase": "the red ship at the pier"},
        {"box": [0.6, 0.6, 0.9, 0.9], "phrase": "the cranes"},
        {"box": [0.6, 0.1, 0.9, 0.4], "phrase": "the cranes"},
    ]
    records, skipped = lines({"image": "a.png", "unit": "normalised", "boxes": boxes})
    assert not skipped
    refer = [r for r in records if r.task == "refer"]
    assert [(r.references["phrase"], r.turns[0].answer) for r in refer] == [
        ("the red ship at the pier", "{<10><10><30><30>}")
    ]
    assert [r.turns[0].answer for r in records if r.task == "identify"] == [
        "the red ship at the pier",
        "the cranes",
        "the cranes",
    ]
    detection = [r.turns[0] for r in records if r.task == "detection"]
    assert detection[1] == Turn(
        "[detection] the cranes", "<p>the cranes</p> {<60><10><90><40>}<delim>{<60><60><90><90>}"
    )


def test_oriented_boxes_are_kept(lines):
    corners = [100, 20, 140, 60, 100, 100, 60, 60]
    nested = [[100, 20], [140, 60], [100, 100], [60, 60]]
    for polygon in (corners, nested):
        records, _ = lines({"image": "a.png", "unit": "pixels", "boxes": [{"polygon": polygon, "label": "plane"}]})
        assert records[0].references["boxes"] == [[0.3, 0.2, 0.7, 1.0]]
        assert records[0].references["polygons"] == [[0.5, 0.2, 0.7, 0.6, 0.5, 1.0, 0.3, 0.6]]
        assert records[0].regions[0].polygon == (0.5, 0.2, 0.7, 0.6, 0.5, 1.0, 0.3, 0.6)


def test_upright_boxes_beside_oriented_ones_are_told_by_their_corners_too(lines):
    boxes = [
        {"polygon": [100, 20, 140, 60, 100, 100, 60, 60], "label": "plane"},
        {"box": [0, 0, 40, 40], "label": "plane"},
    ]
    records, _ = lines({"image": "a.png", "unit": "pixels", "boxes": boxes})
    (detection,) = [r for r in records if r.task == "detection"]
    assert detection.references["polygons"] == [
        [0, 0, 0.2, 0, 0.2, 0.4, 0, 0.4],
        [0.5, 0.2, 0.7, 0.6, 0.5, 1.0, 0.3, 0.6],
    ]


def test_difficult_objects_count_and_are_not_asked_about(lines):
    boxes = [
        {"box": [10, 10, 60, 60], "label": "ship"},
        {"box": [100, 10, 150, 60], "label": "ship", "difficult": True},
    ]
    records, skipped = lines({"image": "a.png", "unit": "pixels", "boxes": boxes})
    assert skipped == {"difficult": 1}
    assert [r.references["phrase"] for r in records if r.task == "refer"] == ["the leftmost ship"]


def test_several_sorts_in_one_line_and_a_unit_for_the_file(lines):
    item = {
        **SOUND,
        "caption": "a pier",
        "boxes": [{"box": [10, 10, 60, 60], "label": "ship"}],
        "id": "p1",
        "meta": {"x": 1},
    }
    records, skipped = lines(item, unit="pixels")
    assert [r.task for r in records] == ["vqa", "caption", "refer", "identify", "detection"] and not skipped
    assert len({r.id for r in records}) == 5 and all(r.id.startswith("p1:") for r in records)


def test_which_split(lines, tmp_path):
    assert [r.split for r in lines(SOUND, name="harbour_test.jsonl")[0]] == ["test"]
    assert [r.split for r in lines({**SOUND, "split": "val"}, name="harbour_test.jsonl")[0]] == ["val"]
    assert [r.split for r in lines(SOUND, {**SOUND, "image": "b.png"}, splits={"test": ["b*"]})[0]] == ["train", "test"]


def test_a_choice_of_bands_goes_with_the_name(lines, tmp_path):
    (record,), _ = lines({**SOUND, "image": "a.png#bands=1,1,1&stretch=2,98"})
    assert record.images == (f"{tmp_path / 'a.png'}#bands=1,1,1&stretch=2,98",)
    assert lines(SOUND, {**SOUND, "image": "a.png#offset=0&size=5"})[1] == {"missing image": 1}


def test_frames_of_a_folder_are_chosen_evenly(lines, tmp_path, write_images):
    write_images(tmp_path, *[f"clip/f{n}.png" for n in range(1, 13)])
    (record,), skipped = lines({"video": "clip", "frames": 3, "caption": "a car turns"})
    assert not skipped and record.task == "video_caption"
    # parts 1-4, 5-8 and 9-12; the middle of each, and f10 comes after f9
    assert record.images == tuple(str(tmp_path / f"clip/f{n}.png") for n in (3, 7, 11))
    (record,), _ = lines({"video": "clip", "question": "how many?", "answer": "1"}, frames=2)
    assert [name[-6:] for name in record.images] == ["f4.png", "10.png"]


BOX = {"box": [10, 10, 60, 60], "label": "ship"}


@pytest.mark.parametrize(
    ("item", "kind", "words"),
    [
        ('{"image": "a.png", ', "not JSON", "line 2: is not valid JSON: .* .column \\d"),
        ('["a.png"]', "not a record", "is not an object"),
        ('{"image": "a.png", "image": "b.png"}', "not JSON", "key 'image' stands twice"),
        ('{"image": "a.png", "caption": NaN}', "not JSON", "NaN is no JSON number"),
        ("[" * 100_000, "not JSON", "line 2: is not"),
        ({"image": "a.png"}, "nothing asked", "has no question / conversation"),
        ({"image": "a.png", "answer": "2"}, "nothing asked", "has no question"),
        ({"imgae": "a.png", "caption": "x"}, "unknown key", "unknown key 'imgae'; did you mean 'image'"),
        ({**SOUND, "label": "x"}, "unknown key", "unknown key 'label'; known: id, image"),
        ({"question": "x", "answer": "y"}, "no image", "needs either image"),
        ({**SOUND, "video": "b.png"}, "no image", "needs either image"),
        ({**SOUND, "image": 3}, "no image", "is not a file name: '3'"),
        ({**SOUND, "image": []}, "no image", "is not a file name"),
        ({**SOUND, "image": "c.png"}, "missing image", "image 'c.png' is not in"),
        ({**SOUND, "image": "../a.png"}, "missing image", "leaves the image folder"),
        ({**SOUND, "answer": ""}, "no answer", "is empty or not text"),
        ({**SOUND, "answer": None}, "no answer", "is empty or not text"),
        ({**SOUND, "question": " "}, "no question", "is empty or not text"),
        ({**SOUND, "task": "vqua"}, "unknown task", "task 'vqua'; did you mean 'vqa'"),
        ({"image": "a.png", "caption": "x", "task": "vqa"}, "wrong key", "there is no question"),
        ({**SOUND, "split": "trian"}, "unknown split", "split 'trian'"),
        ({**SOUND, "id": ["x"]}, "wrong value", "id is not text"),
        ({"image": "a.png", "conversation": {}}, "wrong value", "conversation is no list"),
        ({"image": "a.png", "conversation": []}, "no conversation", "line 2"),
        ({"image": "a.png", "conversation": [{"question": "x"}]}, "no answer", "line 2"),
        ({"image": "a.png", "conversation": [{"qestion": "x"}]}, "unknown key", "did you mean 'question'"),
        ({"image": "a.png", "captions": "x"}, "wrong value", "captions is no list"),
        ({"image": "a.png", "captions": []}, "no answer", "has no caption"),
        ('{"image": "a.png", "caption": -Infinity}', "not JSON", "-Infinity is no JSON number"),
        ({"image": "a.png", "boxes": [BOX]}, "no unit", "write unit: pixels or unit: normalised"),
        ({"image": "a.png", "boxes": [BOX], "unit": "px"}, "no unit", "unit 'px'"),
        ({"image": "a.png", "boxes": BOX, "unit": "pixels"}, "wrong value", "boxes is no list"),
        ({"image": "a.png", "boxes": [], "unit": "pixels"}, "no objects", "boxes is empty"),
        ({"image": ["a.png", "b.png"], "boxes": [BOX], "unit": "pixels"}, "wrong key", "need one image"),
        (
            {"image": "a.png", "boxes": [BOX], "unit": "pixels", "width": 0, "height": 5},
            "wrong value",
            "width and height",
        ),
        ({"image": "a.png", "boxes": [BOX], "unit": "pixels", "width": 100}, "wrong value", "width and height"),
        ({"video": "clip", "frames": 0, "caption": "x"}, "wrong value", "frames is not a number above 0"),
    ],
)
def test_each_mistake_in_a_line(lines, tmp_path, item, kind, words):
    records, skipped = lines(SOUND, item, {**SOUND, "image": "b.png"})
    assert (len(records), skipped) == (2, {kind: 1})
    _, problems = read_with_problems(SourceConfig("jsonl", str(tmp_path / "my.jsonl")), "x")
    assert f"{tmp_path / 'my.jsonl'}, line 2" in str(problems[0])
    assert re.search(words, str(problems[0]))


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ({"label": "ship"}, "malformed box"),
        ({"box": [1, 2, 3, 4], "polygon": [1] * 8, "label": "ship"}, "malformed box"),
        ({"box": [1, 2, 3], "label": "ship"}, "malformed box"),
        ({"box": [1, 2, 3, "4"], "label": "ship"}, "malformed box"),
        ({"box": [1, 2, 3, True], "label": "ship"}, "malformed box"),
        ({"box": [1, 2, 3, 10**400], "label": "ship"}, "malformed box"),
        ({"polygon": [1, 2, 3, 4], "label": "ship"}, "malformed box"),
        ({"box": [10, 10, 60, 60]}, "no label"),
        ({"box": [10, 10, 60, 60], "label": "ship", "phrase": "the ship"}, "no label"),
        ({"box": [10, 10, 60, 60], "lable": "ship"}, "unknown key"),
        ({"box": [10, 10, 60, 60], "label": "ship", "difficult": "no"}, "wrong value"),
        ([10, 10, 60, 60], "wrong value"),
        ({"box": [60, 10, 10, 60], "label": "ship"}, "inverted box"),
        ({"box": [300, 10, 400, 60], "label": "ship"}, "box outside the image"),
        ({"box": [10, 10, 12, 12], "label": "ship"}, "too small"),
    ],
)
def test_each_mistake_in_a_box_costs_that_box(lines, tmp_path, box, kind):
    records, skipped = lines({"image": "a.png", "unit": "pixels", "boxes": [BOX, box]})
    assert skipped == {kind: 1}
    assert [r.task for r in records if r.task == "identify"] == ["identify"]
    _, problems = read_with_problems(SourceConfig("jsonl", str(tmp_path / "my.jsonl")), "x")
    assert str(problems[0]).startswith(f"{tmp_path / 'my.jsonl'}, line 1, boxes[1]: ")


def test_boxes_of_a_missing_image_are_all_counted(lines, tmp_path):
    lines(SOUND, {"image": "c.png", "unit": "pixels", "boxes": [BOX] * 5})
    problems = [item for item in read_jsonl(tmp_path / "my.jsonl") if isinstance(item, Problem)]
    assert [(problem.kind, problem.count) for problem in problems] == [("missing image", 5)]


def test_the_same_id_twice(lines):
    assert lines({**SOUND, "id": "p"}, {**SOUND, "id": "p"})[1] == {"duplicate id": 1}


def test_a_file_of_another_kind(lines, tmp_path):
    with pytest.raises(SkyEyeError, match="my.jsonl: is one JSON list .write one object per line"):
        lines("[", json.dumps(SOUND), "]")
    with pytest.raises(SkyEyeError, match="is empty"):
        lines("\n \n")
    with pytest.raises(SkyEyeError, match="is a folder .give the file"):
        read_with_problems(SourceConfig("jsonl", str(tmp_path)), "x")
    with pytest.raises(SkyEyeError, match="unknown unit 'pixel'; ?|did you mean 'pixels'"):
        lines(SOUND, unit="pixel")


def test_a_line_that_is_not_text_and_one_that_is_too_long(lines, tmp_path, monkeypatch):
    monkeypatch.setattr("skyeye.data.formats.base.json_lines.LONGEST", 200)
    good = json.dumps(SOUND).encode()
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + good + b"\n\xff\xfe\n" + b" " * 3 + b"x" * 900 + b"\n" + good)
    records, problems = read_with_problems(SourceConfig("jsonl", str(tmp_path / "x.jsonl")), "x")
    assert len(records) == 2
    assert [(p.kind, str(p).split(", ")[1][:6]) for p in problems] == [
        ("not text", "line 2"),
        ("line too long", "line 3"),
    ]


def test_objects_without_questions_are_what_tiling_takes(lines, tmp_path):
    lines({**SOUND, "boxes": [BOX, {"box": [1], "label": "x"}], "unit": "pixels", "id": "p"})
    items = list(annotated(tmp_path / "my.jsonl"))
    assert [item.kind for item in items[:2]] == ["not about a place", "malformed box"]
    assert (items[2].key, len(items[2].objects), items[2].objects[0].name) == ("p", 1, "ship")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["a.png", "pixels"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["box", "polygon", "label", "phrase", "question", "answer"]), inner)
    ),
    max_leaves=15,
)


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), values, max_size=6), min_size=1, max_size=4))
def test_any_objects_are_records_or_problems(tmp_path_factory, objects):
    folder = tmp_path_factory.getbasetemp() / "jsonl_any"
    folder.mkdir(exist_ok=True)
    if not (folder / "a.png").exists():
        from PIL import Image

        Image.new("RGB", (20, 10)).save(folder / "a.png")
    (folder / "my.jsonl").write_text("\n".join(map(json.dumps, objects)))
    items = list(read_jsonl(folder / "my.jsonl"))
    told = {str(item.where).split("line ")[1][0] for item in items}
    assert told == {str(number + 1) for number in range(len(objects))}  # no line is skipped in silence


def test_half_of_a_character_is_skipped_before_a_tokenizer_meets_it(lines):
    (record,), (problem,) = lines(SOUND, '{"image": "a.png", "question": "what is \\ud800?", "answer": "x"}')
    assert record.turns[0].answer == "2"
    assert problem == "broken character"


def test_a_class_may_be_asked_for_without_listing_the_classes(lines):
    (record,), skipped = lines({**SOUND, "question": "what is shown?", "answer": "port", "task": "classification"})
    assert not skipped and record.task == "classification" and record.references == {"answer": "port"}


def test_boxes_of_questions_and_answers_are_numbers(tmp_path, write_images, items):
    write_images(tmp_path, "a.png", size=(200, 100))
    lines = [
        {"image": "a.png", "question": "what is at <box>?", "answer": "a ship", "task": "identify", "unit": "pixels"},
        {"image": "a.png", "conversation": [{"question": "see", "answer": "<box> at sea", "task": "grounding"}] * 2},
    ]
    lines[0]["mentions"] = [[20, 10, 60.5, 40]]
    for turn in lines[1]["conversation"]:
        turn["mentions"] = [{"phrase": "2 ships", "boxes": [[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 0, 1, 1, 0, 1]]}]
    lines[1]["unit"] = "normalised"
    (tmp_path / "my.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (asked, talk), skipped = items("jsonl", tmp_path / "my.jsonl")
    place = Box(0.1, 0.1, 0.3025, 0.4)
    assert not skipped
    assert asked.turns == (Turn(f"what is at {MARK}?", "a ship", "identify", (Mention((place,)),)),)
    assert asked.references["boxes"] == [list(place)]
    corners = OrientedBox(0, 0, 1, 0, 1, 1, 0, 1)
    mention = Mention((Box(0.1, 0.2, 0.3, 0.4), corners), "2 ships")
    assert talk.turns == (Turn("see", f"{MARK} at sea", "grounding", (mention,)),) * 2


@pytest.mark.parametrize(
    ("mentions", "kind"),
    [
        ([], "malformed box"),
        ([[1, 2, 30, 40], [1, 2, 30, 40]], "malformed box"),
        ([[1, 2, 3]], "malformed box"),
        ([[30, 2, 1, 40]], "inverted box"),
        ([{"box": [1, 2, 30, 40]}], "unknown key"),
        ("all", "wrong value"),
    ],
)
def test_mentions_that_do_not_fit_are_told(tmp_path, write_images, items, mentions, kind):
    write_images(tmp_path, "a.png")
    line = {"image": "a.png", "question": "what is at <box>?", "answer": "a", "unit": "pixels", "mentions": mentions}
    (tmp_path / "my.jsonl").write_text(json.dumps(line))
    assert items("jsonl", tmp_path / "my.jsonl")[1] == {kind: 1}
