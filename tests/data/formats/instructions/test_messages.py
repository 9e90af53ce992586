import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.formats.instructions.messages import read_messages


def item(*texts, **more):
    roles = ("human", "gpt")
    return {"conversations": [{"from": roles[n % 2], "value": text} for n, text in enumerate(texts)], **more}


def questions(*texts, images=2):
    return [question for question, _ in read_messages(item(*texts), images, "x.json, record 3").turns]


@pytest.mark.parametrize(
    ("question", "images", "read"),
    [
        ("<image>\nWhat is shown?", 1, "What is shown?"),
        ("What is shown?\n<image>", 1, "What is shown?"),
        ("<image> <image>\nWhat changed?", 2, "What changed?"),
        ("What changed?\n<image>\n<image>", 2, "What changed?"),
        ("Before: <image> After: <image> What changed?", 2, "Before: first image After: second image What changed?"),
        ("<image> before, <image>after", 2, "first image: before, second image after"),
        (
            "Before:\n<image>\nAfter:\n<image>\nWhat changed?",
            2,
            "Before: first image After: second image What changed?",
        ),
        ("Look at <image> and count.", 1, "Look at the image and count."),
        ("A harbour.\n<image>\nHow many ships?", 1, "A harbour. How many ships?"),
        ("In <|vision_start|><|image_pad|><|vision_end|> count.", 1, "In the image count."),
        ("<video>\nwhat moves?", 8, "what moves?"),
        ("<ImageHere> a <image> b", 2, "first image: a second image b"),
        (" ".join(["<image> x"] * 12), 12, None),
    ],
)
def test_the_place_of_images_becomes_words_where_it_says_something(question, images, read):
    (found,) = questions(question, "yes", images=images)
    if read is None:
        assert found.startswith("first image: x second image x") and found.endswith(
            "tenth image x image 11 x image 12 x"
        )
    else:
        assert found == read


def test_images_of_later_questions():
    found = questions("<image>\nWhat is this?", "A quay.", "<image>\nAnd this?", "A ship.")
    assert found == ["first image: What is this?", "second image: And this?"]
    assert questions("<image>\na?", "b", "<image>\nc?", "d", images=1) == ["a?", "c?"]  # one image, named twice


@pytest.mark.parametrize(("markers", "images"), [(3, 2), (2, 3)])
def test_another_number_of_images_than_the_text_shows(markers, images):
    with pytest.raises(BadRecord, match=f"its texts show {markers} images, and it names {images}") as error:
        questions("<image> and " * markers, "yes", images=images)
    assert error.value.kind == "image count"


PIECES = st.lists(st.sampled_from(["<image>", "<image>\n", "\n", " ", "sea", "quay ", "What? "]), max_size=12)


@given(PIECES, PIECES, st.integers(0, 4))
def test_words_stay_and_markers_go(first, later, images):
    texts = "".join(first), "".join(later)
    try:
        found = read_messages(item(texts[0], "a", texts[1], "b"), images, "w").turns
    except BadRecord as error:
        assert error.kind in ("no question", "image count")
        return
    for text, (question, _) in zip(texts, found, strict=True):
        assert "<image>" not in question and "\n" not in question and question == question.strip()
        words = re.sub(r"\b(first|second|third|fourth|the) image:?", " ", question).split()
        assert words == text.replace("<image>", " ").split()


def test_a_system_turn_is_read():
    with_system = item("Hello", "Hi")
    with_system["conversations"].insert(0, {"from": "system", "value": " Be brief. "})
    found = read_messages(with_system, 0, "w")
    assert (found.system, found.turns) == ("Be brief.", [("Hello", "Hi")])
    assert read_messages(item("Hello", "Hi", system="Be brief."), 0, "w").system == "Be brief."
    assert read_messages(item("Hello", "Hi", system=""), 0, "w").system is None


def test_system_in_the_middle_or_alone():
    late = item("Hello", "Hi")
    late["conversations"].append({"from": "system", "value": "x"})
    with pytest.raises(BadRecord, match="message 2 comes from system, which can only speak first"):
        read_messages(late, 0, "w")
    with pytest.raises(BadRecord, match="the system alone says something"):
        read_messages({"messages": [{"role": "system", "content": "x"}]}, 0, "w")
    with pytest.raises(BadRecord, match="system is not text"):
        read_messages(item("a", "b", system=["x"]), 0, "w")


def test_messages_in_parts():
    parts = [{"type": "image"}, {"type": "text", "text": "How many?"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "text", "text": "3"}]}]
    found = read_messages({"messages": messages}, 1, "w")
    assert found.turns == [("How many?", "3")] and found.marked


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), None, "", " \ufeff ", True, {"a": 1}])
def test_what_is_no_text_is_no_answer(answer):
    with pytest.raises(BadRecord) as error:
        read_messages(item("q?", answer), 0, "w")
    assert error.value.kind == "no answer"


def test_numbers_and_byte_order_marks():
    assert read_messages(item("q?", 3, "r?", "\ufeffyes"), 0, "w").turns == [("q?", "3"), ("r?", "yes")]
    assert read_messages(item("q?", 10**400), 0, "w").turns == [("q?", "1" + "0" * 400)]
