"""Instruction files of other models: their layouts, their boxes, and what of them is kept. Written from their published
descriptions; no file of the releases was at hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.formats.instructions.dialects import read as read_instructions
from skyeye.data.geometry.box_text import GEOCHAT
from skyeye.data.geometry.boxes import OrientedBox
from skyeye.errors import SkyEyeError


@pytest.fixture
def file(tmp_path, write_images, read):
    """Items of a file -> records, and what was skipped; a.png is 200 x 100."""
    write_images(tmp_path, "a.png", size=(200, 100))

    def run(*items, name="x.json", content=None, **options):
        (tmp_path / name).write_text(json.dumps(items if content is None else content))
        return read("llava", tmp_path / name, **options)

    return run


def llava(question, answer, **more):
    conversations = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"image": "a.png", "conversations": conversations, **more}


def test_geochat(file):
    items = [
        llava("<image>\n[refer] where is <p>the plane</p> ?", "{<40><40><60><60>|<90>}{<10><10><30><20>|<0>}"),
        llava("<image>\n[identify] what is {<10><20><30><40>|<0>}", "a ship"),
        llava(
            "[grounding] describe",
            "There is <p>a ship</p> {<10><20><30><40>|<45>} and <p>2 cars</p> {<1><1><9><9>|<0>}",
        ),
        llava("<image>\nIs it rural?\nAnswer with one word.", "rural"),
    ]
    records, skipped = file(*items)
    assert not skipped
    assert [r.task for r in records] == ["refer", "identify", "grounding", "conversation"]
    # 40..60 of 200 x 100 pixels is 40 x 20; turned by 90 degrees it is 20 x 40 about (100, 50)
    assert records[0].turns[0].answer == "{<45><30><55><70>}<delim>{<10><10><30><20>}"
    corners = OrientedBox(*records[0].references["polygons"][0])
    assert tuple(corners.upright()) == pytest.approx((0.45, 0.3, 0.55, 0.7))
    assert records[0].references["polygons"][1] == pytest.approx([0.1, 0.1, 0.3, 0.1, 0.3, 0.2, 0.1, 0.2])
    assert records[0].references["boxes"] == [pytest.approx(v) for v in ([0.45, 0.3, 0.55, 0.7], [0.1, 0.1, 0.3, 0.2])]
    original = records[0].references["original"]
    assert original == {"notation": "geochat", "texts": [m["value"] for m in items[0]["conversations"]]}
    assert records[1].turns[0].question == "[identify] what is {<10><20><30><40>}"
    assert records[1].references["polygons"] == [pytest.approx([0.1, 0.2, 0.3, 0.2, 0.3, 0.4, 0.1, 0.4])]
    ship, cars = records[2].regions
    assert (ship.phrase, cars.phrase) == ("a ship", "2 cars")
    # 40 x 20 pixels turned by 45 degrees about (40, 30): (40 + 20) / sqrt(2) wide and high
    half = 60 / 2**0.5 / 2
    assert tuple(OrientedBox(*ship.polygon).upright()) == pytest.approx(
        ((40 - half) / 200, (30 - half) / 100, (40 + half) / 200, (30 + half) / 100)
    )
    assert cars.polygon == pytest.approx((0.01, 0.01, 0.09, 0.01, 0.09, 0.09, 0.01, 0.09))
    assert "original" not in records[3].references


def test_an_upright_box_in_the_question_and_a_turned_one_in_the_answer(file):
    (record,), skipped = file(llava("what is beside {<10><20><30><40>}?", "a plane {<40><40><60><60>|<90>}"))
    assert not skipped
    assert (record.turns[0].question, record.turns[0].answer) == (
        "what is beside {<10><20><30><40>}?",
        "a plane {<45><30><55><70>}",
    )


def test_fractions_and_the_layout_of_lhrs(file):
    content = {
        "data": [
            {"name": "a.png", "conv": [{"Question": "what is at [0.1,0.2,0.29,0.4]?", "Answer": "a ship"}] * 2},
            {"img": "a", "question": "[refer] the ship", "answer": "[0.1, 0.2, 0.29, 0.4]"},
            {"filename": ["a.png"], "conv": {"Question": "describe", "value": "a harbour"}},
        ]
    }
    records, skipped = file(content=content)
    assert not skipped
    assert [r.task for r in records] == ["conversation", "refer", "conversation"]
    assert records[0].turns[0].question == "what is at {<10><20><29><40>}?"
    assert records[1].turns[0].answer == "{<10><20><29><40>}"
    assert records[2].turns[0].answer == "a harbour"


def test_mmrs_is_padded(file):
    item = llava("<image>\ndetect", "There are <p>2 ships</p>[0.5,0.5,0.75,0.75;0.0,0.25,0.25,0.5]", image="a.png")
    (record,), skipped = file(item, boxes="padded", task="detection")
    # 200 x 100 is padded by 50 rows above: y = (v * 200 - 50) / 100
    assert record.turns[0].answer == "There are <p>2 ships</p> {<50><50><75><100>}<delim>{<0><0><25><50>}"
    assert not skipped and "polygons" not in record.references


def test_vhm_writes_thousandths_and_marks(file):
    items = [
        llava("<image>\n{VG} where is the ship?", "[100, 200, 300, 400]"),
        llava("<image>\n{VQA} is it rural?", "yes"),
        llava("{IDK} what colour is the ship?", "it cannot be seen"),
    ]
    records, skipped = file(*items, boxes="thousandths")
    assert [(r.task, r.turns[0].question) for r in records] == [
        ("refer", "[refer] where is the ship?"),
        ("vqa", "[vqa] is it rural?"),
        ("conversation", "what colour is the ship?"),
    ]
    assert records[0].turns[0].answer == "{<10><20><30><40>}" and not skipped
    kept, _ = file(*items, boxes="thousandths", vhm_marks=False)
    assert [(r.task, r.turns[0].question) for r in kept] == [
        ("conversation", "{VG} where is the ship?"),
        ("conversation", "{VQA} is it rural?"),
        ("conversation", "{IDK} what colour is the ship?"),
    ]


def test_vhm_names_the_folder_of_a_picture_beside_it(file, write_images, tmp_path):
    write_images(tmp_path / "images", "DIOR/a.png", "DOTA/a.png")
    item = llava("<image>\nwhat?", "a ship")
    items = [{**item, "source_dataset": "DIOR"}, {**item, "source_dataset": "DOTA", "image": "DOTA/a.png"}]
    records, skipped = file(*items, images=str(tmp_path / "images"))
    assert not skipped and [r.images for r in records] == [
        (str(tmp_path / "images/DIOR/a.png"),),
        (str(tmp_path / "images/DOTA/a.png"),),
    ]


def test_qwen_and_pixels(file):
    (record,), _ = file(llava("[refer] the ship", "<box>(100,200),(300,400)</box>"))
    assert record.turns[0].answer == "{<10><20><30><40>}"
    (record,), _ = file(llava("[refer] the ship", "[20, 20, 60, 40]"), boxes="pixels")
    assert record.turns[0].answer == "{<10><20><30><40>}"


def test_our_own_notation_is_not_touched(file):
    (record,), skipped = file(llava("[refer] the ship", "{<10><20><30><40>}"))
    assert record.turns[0].answer == "{<10><20><30><40>}"
    assert record.references.keys() == {"boxes", "phrase"} and not skipped


def test_one_object_per_line(file, tmp_path):
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps(llava("[vqa] a?", answer)) for answer in "bc"))
    (tmp_path / "x.jsonl").open("a").write("\n{")
    items = list(read_instructions(tmp_path / "x.jsonl"))
    assert [getattr(item, "kind", "record") for item in items] == ["record", "record", "not JSON"]


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (llava("[refer] the ship", "[10, 20, 30, 40]"), "unclear box"),
        (llava("[refer] the ship", "[0.1, 0.2, 1.4, 0.4]"), "unclear box"),
        (llava("[refer] the ship", "{<10><20><250><40>|<0>}"), "box outside the image"),
        (llava("[refer] the ship", "<box>(100,200),(1300,400)</box>"), "box outside the image"),
        (llava("[refer] the ship", "[0.5, 0.2, 0.1, 0.4]"), "inverted box"),
        (llava("[refer] the ship", "{<10><20><30>|<4>}"), "malformed box"),
        (llava("[refer] the ship", "{<1><2><3><4>|<5>}", image="c.png"), "missing image"),
        (llava("[refer] the ship", "{<1><2><3><4>|<5>}", image=None), "no image"),
        ("text", "not a record"),
        ({"name": "a.png", "conv": [3]}, "no question"),
        ({"image": "a.png"}, "no conversation"),
    ],
)
def test_what_does_not_fit_is_told(file, item, kind):
    assert file(llava("[vqa] a?", "b"), item)[1] == {kind: 1}


CHOICES = "Which count is right? Options: [100, 200, 300, 400]"


def test_choices_in_brackets_are_no_boxes(file):
    items = [llava(CHOICES, "300"), llava("One of [1, 2, 3, 4]?", "3"), llava("[1, 2, 3, 4]?", "3")]
    records, skipped = file(*items)
    assert [record.turns[0].question for record in records] == [CHOICES, "One of [1, 2, 3, 4]?", "[1, 2, 3, 4]?"]
    assert not skipped


def test_brackets_are_words_where_boxes_are_plain(file):
    question = "what is at [10, 20, 300, 400]?"
    assert file(llava("a", "b"), llava(question, "x"))[1] == {"unclear box": 1}
    (record,), skipped = file(llava(question, "x"), boxes="plain")
    assert record.turns[0].question == question and not skipped


def test_boxes_of_messages_with_roles_are_read(file):
    asked = {"role": "user", "content": "<image>\nwhere is the ship?"}
    messages = [asked, {"role": "assistant", "content": "at [0.10, 0.20, 0.30, 0.40]"}]
    (record,), _ = file({"image": "a.png", "messages": messages})
    assert record.turns[0].answer == "at {<10><20><30><40>}"
    (record,), _ = file({"image": "a.png", "text": "where?", "ground_truth": "[0.10, 0.20, 0.30, 0.40]"})
    assert record.turns[0].answer == "{<10><20><30><40>}"


def test_a_box_in_another_notation_is_told(file):
    turns = llava("[refer] the ship", "{<10><20><30><40>}")
    turns["conversations"] += llava("and the quay?", "<box>(100,200),(300,400)</box>")["conversations"]
    records, told = file(turns)
    assert len(records) == 1 and told == {"template leftover": 1}


def test_options_and_files(file, tmp_path):
    with pytest.raises(SkyEyeError, match="unknown notation 'geochet' .did you mean 'geochat'"):
        file(llava("a", "b"), boxes="geochet")
    with pytest.raises(SkyEyeError, match="unknown task 'vqaa'"):
        file(llava("a", "b"), task="vqaa")
    with pytest.raises(SkyEyeError, match="`data` is no list"):
        file(content={"data": 3})
    file(llava("a", "b"), name="geo_test.json")
    assert {r.split for r in read_instructions(tmp_path / "geo_test.json")} == {"test"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(SkyEyeError, match=r"no \*.json or \*.jsonl or \*.parquet or \*.arrow file in this folder"):
        list(read_instructions(tmp_path / "empty"))


@given(
    st.lists(
        st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7), st.floats(0.1, 0.3), st.floats(0, 89)),
        min_size=1,
        max_size=4,
    )
)
def test_every_oriented_box_of_an_answer_has_its_polygon(tmp_path_factory, boxes):
    folder = tmp_path_factory.getbasetemp() / "instructions_any"
    folder.mkdir(exist_ok=True)
    if not (folder / "a.png").exists():
        from PIL import Image

        Image.new("RGB", (64, 64)).save(folder / "a.png")
    texts = [GEOCHAT.write(OrientedBox.from_centre(x, y, side, side / 2, angle)) for x, y, side, angle in boxes]
    (folder / "x.json").write_text(json.dumps([llava("[refer] the ships", "".join(texts))]))
    (record,) = read_instructions(folder / "x.json")
    assert len(record.references["boxes"]) == len(record.references["polygons"]) == len(boxes)
    for box, polygon in zip(record.references["boxes"], record.references["polygons"], strict=True):
        assert box == pytest.approx(list(OrientedBox(*polygon).upright().clipped()))
