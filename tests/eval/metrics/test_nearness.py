"""Recalls and zero-shot accuracy by counting, and what equal nearness counts."""

from __future__ import annotations

import pytest

from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.eval import metrics
from skyeye.eval.results import Answer


def picture(name: str, **references) -> Record:
    return Record(name, "", "caption", "test", (f"{name}.jpg",), (Turn("", ""),), references)


def text(words: str, **references) -> Record:
    return Record(words, "", "caption", "test", (), (Turn(words, ""),), references)


def at(*numbers: float) -> Answer:
    return Answer(embedding=numbers)


def test_recalls_are_counted_both_ways():
    """a lies with its first caption; b is nearest to a's; of c both captions are third or worse."""
    records = [picture(name, captions=["..."]) for name in "abc"]
    records += [text("a1", of="a"), text("b1", of="b"), text("c1", of="c"), text("c2", of="c")]
    answers = [at(1, 0, 0), at(0.9, 0.1, 0), at(0, 0, 1)]
    answers += [at(1, 0.01, 0), at(0, 1, 0), at(0.8, 0.2, 0.1), at(0, 0.9, 0.1)]
    found = metrics.retrieval(records, answers).metrics
    # a -> a1; b -> a1 before c1 before b1; c -> c2 is nearest, c1 second
    assert found["image_to_text R@1"] == pytest.approx(200 / 3) and found["image_to_text R@5"] == 100
    # a1 -> a; b1 -> b; c1 -> b, a, c; c2 -> c (0.11 against 0.1)
    assert found["text_to_image R@1"] == pytest.approx(75) and found["text_to_image R@5"] == 100
    assert found["mean_recall"] == pytest.approx((200 / 3 + 75 + 4 * 100) / 6)


def test_the_same_words_of_two_pictures_count_half():
    """One other caption is as near: half a place, so the first place is still its own; of three such it is not."""
    for others, hit in ((1, 100.0), (3, 0.0)):
        records = [picture("a", captions=["x"]), *(picture(f"b{n}", captions=["x"]) for n in range(others))]
        texts = [text("x", of="a"), *(text(f"x {n}", of=f"b{n}") for n in range(others))]
        answers = [at(1, 0)] * len(records) + [at(1, 0)] * len(texts)
        assert metrics.retrieval([*records, *texts], answers).metrics["image_to_text R@1"] == hit


def test_a_class_is_the_mean_of_its_texts():
    records = [picture("p", answer="pond"), picture("q", answer="beach")]
    records += [text("1", **{"class": "beach"}), text("2", **{"class": "beach"}), text("3", **{"class": "pond"})]
    answers = [at(0.6, 0.8), at(1, 0), at(1, 0), at(0, 1), at(0.5, 0.866)]
    scores = metrics.zero_shot(records, answers)
    # beach is (0.71, 0.71): nearer to p (0.99) than pond (0.993)? no: 0.6 * 0.5 + 0.8 * 0.866 = 0.993
    assert [item["answer"] for item in scores.items] == ["pond", "beach"]
    assert scores.metrics["accuracy"] == 100 and scores.metrics["accuracy (first template)"] == 100
    assert "top-5 accuracy" not in scores.metrics


def test_words_are_no_vectors():
    with pytest.raises(SkyEyeError, match="has no embedding"):
        metrics.zero_shot([picture("p", answer="pond"), text("1", **{"class": "pond"})], [Answer("pond")] * 2)
