from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from skyeye.eval.report import markdown, report
from skyeye.eval.verdict import verdict

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&{<10><10><50><60>}"
ABOUT = {
    "checkpoint": HOSTILE,
    "recipe": HOSTILE,
    "stage": "s",
    "step": 7,
    "fingerprint": "f",
    "seed": 0,
    "limit": None,
    "parameters": 1000,
    "date": "2030-01-01",
    "seconds": 1.5,
    "units": "percent",
    "caption_tokenizer": "ptb",
    "versions": {"python": "3"},
}


def triple(value, blind=None, deaf=None, same=None):
    result = {"value": value, "blind": blind, "deaf": deaf}
    return result if deaf is None else {**result, "value_on_deaf_items": same}


def entry(family: str, main: str, n: int = 400, deaf_items: int = 0, notes=(), **metrics):
    protocol = {
        "title": family,
        "family": family,
        "main_metric": main,
        "question": "[x] q",
        "decoding": "greedy",
        "metric": "m",
        "blind": "b",
        "deaf": None,
        "notes": list(notes),
    }
    counts = {"records": n, "images": n, "deaf items": deaf_items, "left out": 0, "left out by rule": 3}
    return {**{k.replace("__", "@0.5"): v for k, v in metrics.items()}, "counts": counts, "protocol": protocol}


def with_counts(one: dict) -> dict:
    """With as many records of each kind as there are in all."""
    kinds = [name.split("/")[1] for name in one if "/" in name]
    return one | {"counts": one["counts"] | dict.fromkeys(kinds, one["counts"]["records"])}


@pytest.fixture
def picture(tmp_path) -> str:
    Image.new("RGB", (600, 300), (20, 120, 40)).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


@pytest.fixture
def page(picture) -> str:
    scores = {
        "world.refer": entry("refer", "accuracy@0.5", deaf_items=9, accuracy__=triple(50, 2, 48, 49), notes=[HOSTILE]),
        "world.caption": entry("captions", "CIDEr", CIDEr=triple(90, 10)),
        "about": ABOUT,
    }
    refer = {
        "id": HOSTILE,
        "images": [picture],
        "question": HOSTILE,
        "answer": HOSTILE,
        "truth": [[0.1, 0.2, 0.5, 0.6]],
        "correct": False,
        "iou": 0.3,
    }
    caption = {
        "id": "c",
        "images": [picture, "gone.png"],
        "question": "q",
        "answer": HOSTILE,
        "truth": [HOSTILE, "b"],
        "correct": None,
        "cider": 12.0,
    }
    predictions = {
        "world.refer": {"seen": [refer], "deaf": [refer | {"answer": "other"}]},
        "world.caption": {"seen": [caption, caption | {"id": "d", "answer": ""}], "blind": [caption]},
    }
    return report(scores, predictions)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_hostile_text_stays_text(page):
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    names = [tag for tag, _ in parser.tags]
    assert "script" not in names
    assert not [a for _, attributes in parser.tags for a in attributes if a.startswith("on")]
    assert "&lt;script&gt;" in page


def test_the_page_needs_no_network(page):
    sources = [a.get("src") or a.get("href") for _, a in _tags(page) if "src" in a or "href" in a]
    assert sources and all(s.startswith(("data:image/jpeg;base64,", "#")) for s in sources)
    assert "http" not in re.sub(r"data:image/jpeg;base64,[^\"]*", "", page)
    assert "@import" not in page and "url(" not in page
    assert 'name="viewport"' in page


def test_boxes_of_truth_and_answer_are_drawn(page):
    rectangles = [a for tag, a in _tags(page) if tag == "rect"]
    drawn = {a["class"]: tuple(float(a[k]) for k in ("x", "y", "width", "height")) for a in rectangles}
    assert drawn["truth"] == (10, 20, 40, 40)
    assert drawn["answer"] == (10, 10, 40, 50)
    assert drawn["asked"] == (10, 10, 40, 50)


def test_what_is_gone_or_empty_is_said(page):
    assert "(no answer)" in page
    pictures = [a for tag, a in _tags(page) if tag == "img"]
    assert len(pictures) == 3  # one of refer, and of the two-frame captions the frame that is left


def test_markdown_has_every_metric_and_bar():
    scores = {
        "world.vqa": entry("vqa", "accuracy", accuracy=triple(50, 45), **{"accuracy/count": triple(1, 1)}),
        "world.refer": entry("refer", "accuracy@0.5", deaf_items=9, accuracy__=triple(50, 2, 48.04, 49)),
        "about": ABOUT | {"checkpoint": "x"},
    }
    text = markdown(scores)
    assert "| world.vqa | accuracy | 50.0 | 45.0 | – | 400 |" in text
    assert "| world.refer | accuracy@0.5 | 50.0 | 2.0 | 48.0 (49.0) | 400 |" in text
    assert "NOT reached: at least 20 points above blind" in text
    assert "- reached: accuracy@0.5 at least 40 %" in text
    assert "NOT reached: at least 15 points above deaf" in text


def one(**scores):
    [result] = verdict({"x": entry(**scores), "about": ABOUT})
    return " ".join(result.sentences), dict(result.checks)


def test_verdict_tells_seeing_from_habit():
    words, checks = one(family="vqa", main="accuracy", accuracy=triple(77.7, 44.7))
    assert words.startswith("Sees:") and checks == {"at least 20 points above blind": True}
    words, checks = one(family="vqa", main="accuracy", accuracy=triple(60, 45))
    assert words.startswith("Sees a little") and not any(checks.values())
    words, _ = one(family="vqa", main="accuracy", accuracy=triple(47, 45))
    assert words.startswith("Does not see")
    words, _ = one(family="vqa", main="accuracy", n=10, accuracy=triple(60, 45))
    assert words.startswith("Does not see")  # ten questions prove nothing
    words, _ = one(family="vqa", main="accuracy", accuracy=triple(60, None))
    assert "could not be tested" in words
    assert one(family="vqa", main="accuracy", accuracy=triple(None))[0] == "Nothing could be scored."
    assert one(family="vqa", main="accuracy", accuracy=triple(0, 0))[0].startswith("Has not learnt")


def test_verdict_names_what_is_not_learnt():
    parts = {"accuracy/presence": triple(95, 50), "accuracy/count": triple(26, 25)}
    [result] = verdict({"x": with_counts(entry("vqa", "accuracy", accuracy=triple(70, 44), **parts)), "about": ABOUT})
    words = " ".join(result.sentences)
    assert "Learnt: presence (95 against 50 blind)." in words
    assert "Not learnt: count (26 against 25 blind)." in words


def test_verdict_tells_listening_from_pointing_anywhere():
    extra = {"any_object@0.5": triple(96, 5)}
    words, checks = one(family="refer", main="accuracy@0.5", deaf_items=300, accuracy__=triple(51, 2, 47, 49), **extra)
    assert "Does not use the words: only 2.0 points above deaf" in words
    assert "96 % of its boxes fit some object" in words
    assert checks == {
        "accuracy@0.5 at least 40 %, blind at most half of it": True,
        "at least 15 points above deaf": False,
    }
    words, checks = one(family="refer", main="accuracy@0.5", deaf_items=300, accuracy__=triple(80, 2, 10, 78))
    assert "Listens: 78.0" in words and all(checks.values())
    words, checks = one(family="refer", main="accuracy@0.5", deaf_items=300, accuracy__=triple(60, 40, 10, 60))
    assert not checks["accuracy@0.5 at least 40 %, blind at most half of it"]


def test_verdict_on_captions():
    assert "do not depend" in one(family="captions", main="CIDEr", CIDEr=triple(30, 28))[0]
    assert "follow the picture" in one(family="captions", main="CIDEr", CIDEr=triple(80, 20))[0]


def _tags(page: str) -> list[tuple[str, dict]]:
    parser = Tags()
    parser.feed(page)
    return parser.tags
