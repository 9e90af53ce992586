"""What a person writes becomes what a window is asked."""

import pytest

from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.serve.scenes.questions import is_yes, label_of, number_in, parse_question, turns_of


@pytest.mark.parametrize(
    ("text", "turn", "finds", "label"),
    [
        ("[detection] planes", Turn("planes", "", "detection"), "boxes", "planes"),
        ("[refer] where is the red plane ?", Turn("where is the red plane ?", "", "refer"), "boxes", "red plane"),
        ("[grounding]", Turn("briefly describe the image", "", "grounding"), "boxes", None),
        ("[caption]", Turn("briefly describe the image", "", "caption"), "text", None),
        ("[count] ships", Turn("what is the number of ships ?", "", "vqa"), "text", None),
        ("[vqa] is there a ship?", Turn("is there a ship?", "", "vqa"), "text", None),
        ("find every ship", Turn("find every ship", "", "conversation"), "either", None),
        (
            "[classification] forest,desert",
            Turn(
                "Classify the image within one of the given classes: forest, desert. "
                "Answer with one word or short phrase.",
                "",
                "classification",
            ),
            "text",
            None,
        ),
    ],
)
def test_questions(text, turn, finds, label):
    question = parse_question(text)
    assert (question.turn, question.finds, question.label) == (turn, finds, label)


@pytest.mark.parametrize("text", ["", "[planes]", "[detection]", "[count] ", "[video_caption] x"])
def test_what_is_no_question_is_said(text):
    with pytest.raises(SkyEyeError, match="--ask"):
        parse_question(text)


def test_a_condition_is_asked_once_and_only_for_boxes():
    first = parse_question("[detection] planes", "[vqa] is there a plane ?")
    second = parse_question("[refer] the largest plane", "[vqa] is there a plane ?")
    assert turns_of([first, second]) == [first.turn, first.condition, second.turn]
    with pytest.raises(SkyEyeError, match="boxes"):
        parse_question("[caption]", "[vqa] is there a plane ?")


def test_words_of_answers():
    assert label_of("The three ships") == "ships" and label_of("a red plane.") == "red plane"
    assert label_of("where can I locate the bridge?") == "bridge"
    assert [is_yes(text) for text in ("Yes.", "yes, two", "no", "", "yesterday")] == [True, True, False, False, False]
    assert [number_in(text) for text in ("there are 12", "Three", "none")] == [12, 3, None]
