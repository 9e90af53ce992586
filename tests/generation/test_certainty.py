"""The certainty of a piece of an answer, by arithmetic."""

import math

import pytest

from skyeye.data.prompts import MiniGPTv2
from skyeye.generation.certainty import certainty, told_tokens


class Words:
    """Decodes ids as pieces of a text."""

    pieces = ("a ship {", "<1>", "<2><3", "><40>}", " and", " {<5><6>", "<7><8>}")

    def decode(self, ids):
        return "".join(self.pieces[i] for i in ids)


def test_a_box_is_as_sure_as_the_tokens_that_write_it():
    told = told_tokens(range(7), [math.log(p) for p in (0.5, 0.4, 0.9, 0.8, 0.01, 0.25, 1.0)], Words())
    assert [token.end for token in told] == [8, 11, 16, 22, 26, 34, 41]
    text = Words().decode(range(7))
    places = [place for _, place in MiniGPTv2().placed_boxes(text)]
    assert [text[first:last] for first, last in places] == ["{<1><2><3><40>}", "{<5><6><7><8>}"]
    # the first token holds the brace; the words between two boxes count for neither
    assert certainty(places[0], told) == pytest.approx((0.5 * 0.4 * 0.9 * 0.8) ** (1 / 4))
    assert certainty(places[1], told) == pytest.approx(0.25 ** (1 / 2))


def test_what_is_not_told_is_not_known():
    assert told_tokens(range(7), [], Words()) == ()
    assert certainty((0, 3), ()) is None and certainty((5, 9), [(3, -1.0)]) is None
