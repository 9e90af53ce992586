import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.curate.check.texts import text_findings
from skyeye.data.geometry.box_text import read_answer_boxes
from skyeye.data.record import Record, Region, Turn


def kinds(*turns: tuple[str, str], **more) -> list[str]:
    record = Record("1", "s", "vqa", "train", ("a.png",), tuple(Turn(*turn) for turn in turns), **more)
    return [kind for kind, _ in text_findings(record)]


@pytest.mark.parametrize(
    "turn",
    [
        ("[vqa] how many ships?", "3"),
        ("[refer] where is the ship", "{<0><0><100><100>}"),
        ("[refer] where is the ship", "{<7><7><7><7>}"),
        ("[detection] The two ships", "<p>The two ships</p> {<1><2><3><4>}<delim>{<5><6><7><8>}"),
        ("what is a {brace}?", "x < 3 and {y}"),
        ("Describe this image in detail.", "A <b>bold</b> pier; see <https://example.org>."),
    ],
)
def test_sound_texts(turn):
    assert kinds(turn) == []


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (("[vqa] how many?", " \n"), ["empty answer"]),
        (("[vqa] ", "3"), ["empty question"]),
        (("", "3"), ["empty question"]),
        (("<image>\nhow many?", "3"), ["template leftover"]),
        (("<Img><ImageHere></Img> how many?", "3"), ["template leftover"]),
        (("[INST] how many? [/INST]", "3</s>"), ["template leftover", "template leftover"]),
        (("[vqa] how many\ud800?", "3"), ["broken character"]),
        (("[detection] ships", "<p>ships {<1><2><3><4>}"), ["unbalanced phrase"]),
        (("[detection] ships", "ships</p> {<1><2><3><4>}"), ["unbalanced phrase"]),
        (("[detection] ships", "<p><p>ships</p></p>"), ["unbalanced phrase"]),
        (("[refer] where", "{<1><2><3>}"), ["malformed box"]),
        (("[refer] where", "{<1><2><3><4><5>}"), ["malformed box"]),
        (("[refer] where", "{<1.5><2><3><4>}"), ["malformed box"]),
        (("[refer] where", "{<1><2><101><4>}"), ["box outside the image"]),
        (("[refer] where", "{<-1><2><3><4>}"), ["box outside the image"]),
        (("[refer] where", "{<5><2><3><4>}"), ["inverted box"]),
        (("[identify] what is {<1><9><3><4>}", "a ship"), ["inverted box"]),
        (("[refer] where", "{<105><2><3><4>}"), ["box outside the image", "inverted box"]),
    ],
)
def test_what_is_wrong_in_a_text(turn, expected):
    assert kinds(turn) == expected


def test_every_turn_is_read_and_named():
    record = Record("1", "s", "conversation", "train", (), (Turn("a", "b"), Turn("c <image>", "")))
    assert [what.split(" of turn ")[1][0] for _, what in text_findings(record)] == ["2", "2"]
    assert kinds() == ["empty answer"]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 1, 1], []),
        ([0.2, 0.1, 1.2, 0.4], ["box outside the image"]),
        ([0.5, 0.1, 0.2, 0.4], ["inverted box"]),
        ([float("nan"), 0, 1, 1], ["malformed box"]),
        ([0, 1], ["malformed box"]),
        (["a", 0, 1, 1], ["malformed box"]),
        (None, ["malformed box"]),
    ],
)
def test_boxes_of_references_and_regions(box, expected):
    assert kinds(("q", "a"), references={"boxes": [box]}) == expected
    assert kinds(("q", "a"), regions=(Region(box, "ship"),)) == expected


@given(st.lists(st.sampled_from(["{", "}", "<", ">", "<p>", "</p>", "12", "101", "-3", " ", "a", "|"]), max_size=30))
def test_any_text_is_judged_and_a_box_without_findings_can_be_parsed(pieces):
    text = "".join(pieces)
    found = kinds(("q", text + "."))
    if not found:
        meant = [part for part in _inner_braces(text) if re.search(r"^\s*<\s*-?\d|\d\s*>\s*<\s*-?\d", part)]
        assert len(read_answer_boxes(text)) == len(meant)


def _inner_braces(text: str) -> list[str]:
    parts, start = [], None
    for place, sign in enumerate(text):
        if sign == "{":
            start = place
        elif sign == "}" and start is not None:
            parts.append(text[start + 1 : place])
            start = None
    return parts
