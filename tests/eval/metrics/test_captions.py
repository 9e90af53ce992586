from __future__ import annotations

import importlib
import math
import random
import shutil

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from skyeye.data.record import Record, Turn
from skyeye.eval import metrics
from skyeye.eval.metrics.captions import (
    FALLBACK_NOTE,
    ONE_IMAGE_NOTE,
    CaptionScorer,
    bleu,
    ptb_tokens,
    simple_tokens,
)
from skyeye.eval.metrics.meteor import meteor, meteor_value
from skyeye.eval.results import Answer

java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java for the PTB tokenizer and METEOR")
MODULE = importlib.import_module("skyeye.eval.metrics.captions")
WORDS = "a the red plane planes ship ships vessel is are standing stand in on harbour harbor big two some road".split()


@pytest.fixture
def scorer() -> CaptionScorer:
    return CaptionScorer(java=None)


@pytest.fixture
def without_java(monkeypatch, scorer) -> None:
    monkeypatch.setattr(MODULE, "default_scorer", lambda: scorer)


@pytest.fixture(scope="module")
def program() -> Meteor:
    return Meteor()


def captions(records, texts, **options):
    return metrics.captions(records, [Answer(text) for text in texts], **options)


def identify(records, texts, **options):
    return metrics.identify(records, [Answer(text) for text in texts], **options)


def scores(scorer: CaptionScorer, references: list[list[str]], answers: list[str]) -> dict[str, float]:
    return {name: statistic.score for name, statistic in scorer.score(references, answers).items()}


def corpus(seed: int, size: int) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Tokenised captions of random words: some right word by word, some empty."""
    rng = random.Random(seed)
    truth = {i: [_sentence(rng, 1) for _ in range(rng.randint(1, 5))] for i in range(size)}
    given = {i: [rng.choice([truth[i][0], _sentence(rng, 0), _sentence(rng, 0)])] for i in truth}
    return truth, given


def _sentence(rng: random.Random, shortest: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(shortest, 9)))


def test_equal_captions_are_perfect(scorer):
    texts = ["a red plane stands on the apron", "two ships are in the small harbour"]
    metrics = scores(scorer, [[t] for t in texts], texts)
    for name in ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE_L"):
        assert metrics[name] == pytest.approx(100, abs=1e-4)
    assert metrics["CIDEr"] == pytest.approx(1000)  # 10 x cosine 1, x 100


def test_empty_captions_score_nothing(scorer):
    metrics = scores(scorer, [["a red plane"], ["two blue ships"]], ["", ""])
    assert metrics == pytest.approx(dict.fromkeys(metrics, 0.0), abs=1e-3)


def test_bleu_by_hand(scorer):
    # answer "the cat the cat on" against "the cat is on the mat": clipped unigrams the 2, cat 1, on 1 = 4 of 5;
    # bigrams "the cat" once of 4; brevity penalty exp(1 - 6/5)
    statistics = scorer.score([["the cat is on the mat"]], ["the cat the cat on"])
    penalty = math.exp(1 - 6 / 5)
    assert statistics["BLEU-1"].score == pytest.approx(100 * penalty * 4 / 5, rel=1e-6)
    assert statistics["BLEU-2"].score == pytest.approx(100 * penalty * math.sqrt(4 / 5 * 1 / 4), rel=1e-6)
    assert statistics["BLEU-3"].score < 1e-3
    assert statistics["BLEU-1"].rows.tolist() == [[4, 1, 0, 0, 5, 4, 3, 2, 5, 6]]


def test_the_closest_reference_is_the_shorter_of_two(scorer):
    rows = scorer.score([["a b c d e", "a b c", "a"]], ["a b c d"])["BLEU-4"].rows
    assert rows[0, -2:].tolist() == [4, 3]


@pytest.mark.parametrize("seed", range(20))
def test_bleu_is_that_of_the_library(seed):
    truth, given = corpus(seed, size=random.Random(seed).randint(1, 30))
    library, _ = Bleu(4).compute_score(truth, given, verbose=0)
    ours = [statistic.score / 100 for statistic in bleu(truth, given).values()]
    assert ours == pytest.approx(library, rel=1e-12, abs=1e-12)


def test_bleu_of_weights_is_that_of_captions_that_stand_several_times():
    truth, given = corpus(1, 12)
    weights = [i % 3 for i in range(12)]
    order = [i for i, times in enumerate(weights) for _ in range(times)]
    library, _ = Bleu(4).compute_score(
        {k: truth[i] for k, i in enumerate(order)}, {k: given[i] for k, i in enumerate(order)}, verbose=0
    )
    for statistic, expected in zip(bleu(truth, given).values(), library, strict=True):
        assert statistic.value(np.array(weights) @ statistic.rows) / 100 == pytest.approx(expected, rel=1e-9)


def test_cider_and_rouge_are_those_of_the_library(scorer):
    truth, given = corpus(2, 20)
    statistics = scorer.score(list(truth.values()), [given[i][0] for i in given])
    assert statistics["CIDEr"].score == pytest.approx(100 * Cider().compute_score(truth, given)[0], rel=1e-12)
    assert statistics["ROUGE_L"].score == pytest.approx(100 * Rouge().compute_score(truth, given)[0], rel=1e-12)


def test_rouge_by_hand(scorer):
    # longest common subsequence of "a red plane on grass" and "a plane on the grass": a plane on grass = 4 of 5 and 5
    assert scores(scorer, [["a plane on the grass"]], ["a red plane on grass"])["ROUGE_L"] == pytest.approx(80)
    # recall 1 (2 of 2), precision 1/2 (2 of 4), beta 1.2
    metrics = scores(scorer, [["red plane"]], ["one red plane here"])
    assert metrics["ROUGE_L"] == pytest.approx(100 * (1 + 1.44) * 0.5 / (1 + 1.44 * 0.5))


def test_without_java_it_is_said_and_meteor_is_missing(scorer):
    metrics = scores(scorer, [["a plane"], ["a ship"]], ["a plane", "a ship"])
    assert set(metrics) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE_L", "CIDEr"}
    assert scorer.notes(images=2) == [FALLBACK_NOTE]
    assert "METEOR" in FALLBACK_NOTE
    assert scorer.notes(images=1) == [FALLBACK_NOTE, ONE_IMAGE_NOTE]
    assert "fallback" in scorer.tokenizer


def test_simple_tokens():
    assert simple_tokens("Don't go: it's 2 (small) Planes_ahead...") == "don't go it's 2 small planes ahead"


def record(image: str, *texts: str) -> Record:
    return Record(image, "test", "caption", "test", (image,), (Turn("[caption] x", texts[0]),), {"captions": texts})


def test_items_hold_the_scores_of_each_caption(without_java):
    records = [record("a.png", "a red plane stands here"), record("b.png", "two ships in the harbour")]
    items = captions(records, ["a red plane stands here", ""]).items
    assert [item["rouge_l"] for item in items] == pytest.approx([100, 0])
    assert [item["cider"] for item in items] == pytest.approx([1000, 0])
    assert items[0]["truth"] == ("a red plane stands here",) and items[0]["correct"] is None


def test_shuffled_captions_score_less_than_right_ones(without_java):
    texts = ["a red plane stands here", "two ships in the harbour", "green forest with a road"]
    records = [record(f"{i}.png", *[text] * 5) for i, text in enumerate(texts)]
    right = captions(records, texts)
    shuffled = captions(records, texts[1:] + texts[:1]).metrics
    assert right.metrics["BLEU-1"] == pytest.approx(100, abs=1e-4)
    assert all(shuffled[name] < right.metrics[name] / 2 for name in shuffled)
    assert right.notes == [FALLBACK_NOTE]
    # one word of five off, in all three: 12 of 15 words are right
    off = captions(records, [" ".join([*text.split()[:-1], "x"]) for text in texts]).metrics
    assert off["BLEU-1"] == pytest.approx(80, abs=1e-4)
    assert off["ROUGE_L"] == pytest.approx(80)


def test_nothing_to_score(without_java):
    assert captions([], []).metrics == {}
    assert identify([], []).metrics == {"exact_match": None}


def test_identify_has_exact_match_and_caption_metrics(without_java):
    records = [record(f"{i}.png", t) for i, t in enumerate(["a red plane", "the ship", "a tank"])]
    scores = identify(records, ["red plane", "a ship", "a blue tank"])
    assert scores.metrics["exact_match"] == pytest.approx(100 * 2 / 3)
    assert {"BLEU-1", "ROUGE_L", "CIDEr"} <= set(scores.metrics)
    assert [item["correct"] for item in scores.items] == [True, True, False]


@java
def test_ptb_tokens_equal_those_of_the_library():
    texts = [
        "Don't go; it's a small (red) plane.",
        "",
        "   ",
        "x",
        "line\nbreak\r and \u2028 more",
        "U.S. 3.5 km, 1,000 m",
    ]
    theirs = PTBTokenizer().tokenize({0: [{"caption": " ".join(text.split())} for text in texts]})[0]
    assert ptb_tokens(texts, shutil.which("java")) == theirs


@java
def test_no_character_breaks_a_line():
    # one caption for each: control characters, separators, half of a surrogate pair, beyond the basic plane
    odd = [chr(i) for i in range(0xA1)] + list("\u2028\u2029\u200b\u3000\ufeff\ufffd\ud800\udfff\U0001f6eb")
    tokens = ptb_tokens([f"plane {character} ship" for character in odd], shutil.which("java"))
    assert len(tokens) == len(odd)
    assert all(line.startswith("plane") and line.endswith("ship") for line in tokens)


@java
def test_with_java_there_is_meteor():
    scorer = CaptionScorer(shutil.which("java"))
    texts = ["a red plane stands on the apron", "two ships are in the harbour"]
    assert scores(scorer, [[t] for t in texts], texts)["METEOR"] == pytest.approx(100, abs=1e-6)
    assert scores(scorer, [[t] for t in texts], ["", ""])["METEOR"] == 0
    assert scorer.notes(images=2) == []


@java
def test_meteor_of_any_captions_is_what_the_program_says_of_them(program):
    truth, given = corpus(3, 60)
    whole, each = program.compute_score(truth, given)
    statistic = meteor(program, truth, given)
    assert statistic.score == pytest.approx(100 * whole, abs=1e-9)
    assert statistic.value(statistic.rows) == pytest.approx(100 * np.array(each), abs=1e-9)
    assert min(each) == 0 and max(each) == 1  # some were empty, some right
    assert whole != pytest.approx(np.mean(each), abs=1e-3)  # it is not the mean of the captions
    for seed in range(3):
        order = random.Random(seed).choices(range(60), k=60)
        again, _ = program.compute_score(
            {k: truth[i] for k, i in enumerate(order)}, {k: given[i] for k, i in enumerate(order)}
        )
        weights = np.bincount(order, minlength=60)
        assert statistic.value(weights @ statistic.rows) == pytest.approx(100 * again, abs=1e-9)


def test_meteor_by_hand():
    # "plane stands on" against "red plane stands on grass": 3 of 3 words and 3 of 5, one function word each ("on"),
    # all exact matches in one chunk: precision 1, recall (2 x .75 + .25) / (4 x .75 + .25) = 7/13
    sums = np.zeros(23)
    sums[:4], sums[4:8], sums[20:] = (3, 5, 1, 1), (2, 2, 1, 1), (1, 3, 3)
    precision, recall = 1, 7 / 13
    f_mean = 1 / (0.15 / precision + 0.85 / recall)
    assert meteor_value(sums) == pytest.approx(100 * f_mean * (1 - 0.6 * (1 / 3) ** 0.2))


@java
def test_a_program_that_disagrees_with_the_formula_is_not_believed(program, monkeypatch):
    monkeypatch.setattr(importlib.import_module("skyeye.eval.metrics.meteor"), "ALPHA", 0.5)
    scorer = CaptionScorer(java=None)
    scorer._meteor = program
    truth, given = corpus(4, 5)
    assert scorer._meteor_statistic(truth, given) == {}
    assert any("METEOR is missing" in note and "formula" in note for note in scorer.notes(images=5))


@java
def test_meteor_that_dies_is_said(monkeypatch):
    def dead():
        raise ValueError("could not convert string to float: b''")

    monkeypatch.setattr(MODULE, "Meteor", dead)
    scorer = CaptionScorer(shutil.which("java"))
    metrics = scores(scorer, [["a plane"], ["a ship"]], ["a plane", "a ship"])
    assert "METEOR" not in metrics and "BLEU-1" in metrics
    assert any("METEOR is missing" in note for note in scorer.notes(images=2))
