from __future__ import annotations

from dataclasses import replace

from skyeye.eval.results import BenchmarkResult, EvalResults, MetricValue, Protocol
from skyeye.eval.verdict import verdict


def triple(value, images=None, phrases=None, same=None) -> MetricValue:
    return MetricValue(value, images, phrases, value_on_shuffled_phrases_items=same)


def entry(family: str, main: str, n: int = 400, phrases_items: int = 0, notes=(), images=None, **metrics):
    protocol = Protocol(family, family, main, "[x] q", "greedy", "m", "i", notes=notes, shuffled_images="b")
    counts = {"records": n, "images": images or n, "shuffled_phrases items": phrases_items}
    counts |= {"skipped": 0, "skipped by rule": 3}
    return BenchmarkResult({k.replace("__", "@0.5"): v for k, v in metrics.items()}, counts, protocol)


def with_counts(one: BenchmarkResult) -> BenchmarkResult:
    """With as many records of each kind as there are in all."""
    kinds = [name.split("/")[1] for name in one.metrics if "/" in name]
    return replace(one, counts={**one.counts, **dict.fromkeys(kinds, one.counts["records"])})


def one(**scores):
    [result] = verdict(EvalResults({"x": entry(**scores)}, {}))
    return " ".join(result.sentences), dict(result.checks)


def test_verdict_tells_seeing_from_habit():
    words, checks = one(family="vqa", main="accuracy", accuracy=triple(77.7, 44.7))
    assert words.startswith("Sees:") and checks == {"at least 20 points above shuffled images": True}
    words, checks = one(family="vqa", main="accuracy", accuracy=triple(60, 45))
    assert words.startswith("Sees a little") and not any(checks.values())
    words, _ = one(family="vqa", main="accuracy", accuracy=triple(47, 45))
    assert words.startswith("Does not see")
    words, _ = one(family="vqa", main="accuracy", n=10, accuracy=triple(60, 45))
    assert words.startswith("Does not see")  # ten questions prove nothing
    words, _ = one(family="vqa", main="accuracy", accuracy=triple(60, None))
    assert words == "60.0 accuracy; it was not asked with shuffled images, so whether it sees was not tested."
    words, _ = one(family="vqa", main="accuracy", images=1, accuracy=triple(60, None))
    assert "could not be tested, because all questions show the same picture" in words
    assert one(family="vqa", main="accuracy", accuracy=triple(None))[0] == "Nothing could be scored."
    assert one(family="vqa", main="accuracy", accuracy=triple(0, 0))[0].startswith("Has not learnt")


def test_verdict_names_what_is_not_learnt():
    parts = {"accuracy/presence": triple(95, 50), "accuracy/count": triple(26, 25)}
    [result] = verdict(EvalResults({"x": with_counts(entry("vqa", "accuracy", accuracy=triple(70, 44), **parts))}, {}))
    words = " ".join(result.sentences)
    assert "Learnt: presence (95 against 50 with shuffled images)." in words
    assert "Not learnt: count (26 against 25 with shuffled images)." in words


def test_verdict_tells_listening_from_pointing_anywhere():
    extra = {"any_object@0.5": triple(96, 5)}
    words, checks = one(
        family="refer", main="accuracy@0.5", phrases_items=300, accuracy__=triple(51, 2, 47, 49), **extra
    )
    assert "Does not use the words: only 2.0 points above shuffled phrases" in words
    assert "96 % of its boxes fit some object" in words
    assert checks == {
        "accuracy@0.5 at least 40 %, with shuffled images at most half of it": True,
        "at least 15 points above shuffled phrases": False,
    }
    words, checks = one(family="refer", main="accuracy@0.5", phrases_items=300, accuracy__=triple(80, 2, 10, 78))
    assert "Listens: 78.0" in words and all(checks.values())
    words, checks = one(family="refer", main="accuracy@0.5", phrases_items=300, accuracy__=triple(60, 40, 10, 60))
    assert not checks["accuracy@0.5 at least 40 %, with shuffled images at most half of it"]


def test_verdict_on_captions():
    assert "do not depend" in one(family="captions", main="CIDEr", CIDEr=triple(30, 28))[0]
    assert "follow the picture" in one(family="captions", main="CIDEr", CIDEr=triple(80, 20))[0]
    assert "was not asked with shuffled images" in one(family="captions", main="CIDEr", CIDEr=triple(80))[0]
    assert "there is one picture only" in one(family="captions", main="CIDEr", images=1, CIDEr=triple(80))[0]
