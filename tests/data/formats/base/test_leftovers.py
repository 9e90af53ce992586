import pytest

from skyeye.data.formats.base.leftovers import leftover, record_leftovers
from skyeye.data.record import Record, Turn


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("three ships</s>", "template leftover"),
        ("<|im_end|>", "template leftover"),
        ("[INST] what", "template leftover"),
        ("<image> a quay", "template leftover"),
        ("<box>(1,2),(3,4)", "template leftover"),
        ("<loc0012><loc0300>", "template leftover"),
        ("at [0.1, 0.2, 0.3, 0.4]", "box left in the text"),
        ("{<1.5><2.5><3.5><4.5>}", "box left in the text"),
        ("a < b and [3] of {4}", None),
        ("[A] yes", None),
        ("2", None),
        ("[1, 2, 3, 4]", None),
    ],
)
def test_what_is_left(text, kind):
    found = leftover(text)
    assert (found and found[0]) == kind


def test_question_and_answer_of_each_turn_are_named():
    record = Record("1", "s", "conversation", "train", (), (Turn("a", "b"), Turn("c </s>", "d [/INST]")))
    assert record_leftovers(record) == [
        ("template leftover", "the question of turn 2 contains </s>: 'c </s>'"),
        ("template leftover", "the answer of turn 2 contains [/INST]: 'd [/INST]'"),
    ]
