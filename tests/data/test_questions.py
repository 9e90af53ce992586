"""Questions in BERT's pieces, for a projector that reads them; golden ids are in tests/models/test_golden_rsgpt.py."""

from __future__ import annotations

import pytest

from skyeye.data.questions import PADDING, QuestionEncoder
from skyeye.errors import SkyEyeError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "how", "many", "ship", "##s", "?"]


def test_pieces_between_their_marks():
    encoder = QuestionEncoder(WORDS, 8)
    assert encoder.ids("How MANY ships?") == [2, 4, 5, 6, 7, 8, 3]
    assert encoder(["how?", "ships"]).tolist() == [[2, 4, 8, 3], [2, 6, 7, 3]]
    assert encoder(["how?", "x"]).tolist() == [[2, 4, 8, 3], [2, 1, 3, PADDING]]


def test_of_a_long_question_the_end_is_kept():
    assert QuestionEncoder(WORDS, 4).ids("how many ships ?") == [2, 7, 8, 3]


def test_what_is_no_vocabulary(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    assert QuestionEncoder.from_file(tmp_path, 8).vocabulary == WORDS
    with pytest.raises(SkyEyeError, match=r"model.projector.vocabulary: is no vocabulary of BERT's: it lacks \[CLS\]"):
        QuestionEncoder(["a"], 8)
    with pytest.raises(SkyEyeError, match="absent.txt: no vocabulary can be read: No such file"):
        QuestionEncoder.from_file(tmp_path / "absent.txt", 8)
