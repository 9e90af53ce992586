import pytest

from skyeye.data.record import Record, Turn
from skyeye.eval.metrics.phrases import letter, named, refusal, yes_no
from skyeye.eval.results import Answer


def records(*truths, **more):
    return [Record(str(n), "", "vqa", "test", (), (Turn("q", t),), {"answer": t, **more}) for n, t in enumerate(truths)]


def said(*texts):
    return [Answer(text) for text in texts]


def test_yes_and_no():
    scores = yes_no(records("yes", "no", "Yes", "no"), said("Yes, there is.", "no", "yes and no", "maybe"))
    assert scores.metrics == {"accuracy": 50, "said_yes": 25, "chance": 50}
    assert scores.counts == {"answers without yes or no": 2}


def test_colours_as_vhm_scores_them():
    scores = named(records("red, white", "blue"), said("It is red.", "dark blue"))
    assert scores.metrics == {"share_named": 75, "accuracy": 50}
    assert named(records("red"), said("There is no car.")).counts == {"answers that refuse": 1}


def test_a_letter_of_options_as_published():
    scores = letter(records("B", "C.", letters=4), said("B. left", "the left"))
    assert scores.metrics == {"accuracy": 50, "chance": 25}
    assert scores.counts == {"answers that name no option": 1}
    assert letter(records("B"), said("B")).metrics["chance"] is None


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("There is no ship in the image.", True),
        ("I cannot tell.", True),
        ("The ship is not visible", True),
        ("red", False),
        ("It is a noble ship, nothing else", True),
        ("a notable nonsense", False),
        ("", False),
    ],
)
def test_refusals(text, refused):
    assert refusal(records("It does not exist"), said(text)).metrics["refused"] == 100 * refused


def test_the_published_refusal_is_one():
    assert refusal(records("False question"), said("false question.")).metrics["refused"] == 100
