from __future__ import annotations

import math
import shutil

import pytest
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from skyeye.eval.captions import FALLBACK_NOTE, ONE_IMAGE_NOTE, CaptionScorer, ptb_tokens, simple_tokens

java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java for the PTB tokenizer and METEOR")


@pytest.fixture
def scorer() -> CaptionScorer:
    return CaptionScorer(java=None)


def test_equal_captions_are_perfect(scorer):
    texts = ["a red plane stands on the apron", "two ships are in the small harbour"]
    metrics, each = scorer.score([[t] for t in texts], texts)
    for name in ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE_L"):
        assert metrics[name] == pytest.approx(100, abs=1e-4)
    assert metrics["CIDEr"] == pytest.approx(1000)  # 10 x cosine 1, x 100
    assert [item["rouge_l"] for item in each] == [100, 100]


def test_empty_captions_score_nothing(scorer):
    metrics, _ = scorer.score([["a red plane"], ["two blue ships"]], ["", ""])
    assert metrics == pytest.approx(dict.fromkeys(metrics, 0.0), abs=1e-3)


def test_bleu_by_hand(scorer):
    # answer "the cat the cat on" against "the cat is on the mat": clipped unigrams the 2, cat 1, on 1 = 4 of 5;
    # bigrams "the cat" once of 4; brevity penalty exp(1 - 6/5)
    metrics, _ = scorer.score([["the cat is on the mat"]], ["the cat the cat on"])
    penalty = math.exp(1 - 6 / 5)
    assert metrics["BLEU-1"] == pytest.approx(100 * penalty * 4 / 5, rel=1e-6)
    assert metrics["BLEU-2"] == pytest.approx(100 * penalty * math.sqrt(4 / 5 * 1 / 4), rel=1e-6)
    assert metrics["BLEU-3"] < 1e-3


def test_rouge_by_hand(scorer):
    # longest common subsequence of "a red plane on grass" and "a plane on the grass": a plane on grass = 4 of 5 and 5
    metrics, _ = scorer.score([["a plane on the grass"]], ["a red plane on grass"])
    assert metrics["ROUGE_L"] == pytest.approx(80)
    # recall 1 (2 of 2), precision 1/2 (2 of 4), beta 1.2
    metrics, _ = scorer.score([["red plane"]], ["one red plane here"])
    assert metrics["ROUGE_L"] == pytest.approx(100 * (1 + 1.44) * 0.5 / (1 + 1.44 * 0.5))


def test_without_java_it_is_said_and_meteor_is_missing(scorer):
    metrics, _ = scorer.score([["a plane"], ["a ship"]], ["a plane", "a ship"])
    assert set(metrics) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE_L", "CIDEr"}
    assert scorer.notes(images=2) == [FALLBACK_NOTE]
    assert "METEOR" in FALLBACK_NOTE
    assert scorer.notes(images=1) == [FALLBACK_NOTE, ONE_IMAGE_NOTE]
    assert "fallback" in scorer.tokenizer


def test_simple_tokens():
    assert simple_tokens("Don't go: it's 2 (small) Planes_ahead...") == "don't go it's 2 small planes ahead"


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
def test_with_java_there_is_meteor():
    scorer = CaptionScorer(shutil.which("java"))
    texts = ["a red plane stands on the apron", "two ships are in the harbour"]
    metrics, _ = scorer.score([[t] for t in texts], texts)
    assert metrics["METEOR"] == pytest.approx(100, abs=1e-6)
    assert scorer.score([[t] for t in texts], ["", ""])[0]["METEOR"] == 0
    assert scorer.notes(images=2) == []


@java
def test_meteor_that_dies_is_said(monkeypatch):
    def dead():
        raise ValueError("could not convert string to float: b''")

    monkeypatch.setattr("skyeye.eval.captions.Meteor", dead)
    scorer = CaptionScorer(shutil.which("java"))
    metrics, _ = scorer.score([["a plane"], ["a ship"]], ["a plane", "a ship"])
    assert "METEOR" not in metrics and "BLEU-1" in metrics
    assert any("METEOR is missing" in note for note in scorer.notes(images=2))
