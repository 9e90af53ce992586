from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from skyeye.eval.report import markdown, report
from skyeye.eval.results import Published

VOID = ("meta", "img", "br", "input")


class Page(HTMLParser):
    """Tags with attributes in order, texts of table cells, and the text of data blocks by id."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.cells: list[str] = []
        self.data: dict[str, str] = {}
        self._block: str | None = None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        self._block = dict(attributes).get("id") if tag == "script" else None

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self._block = None

    def handle_data(self, data):
        if self._block is not None:
            self.data[self._block] = self.data.get(self._block, "") + data
        elif {"td", "th"} & set(self.open):
            self.cells[-1] += data


@pytest.fixture
def html(made, picture) -> str:
    refer = {"accuracy@0.5": made.metric(50, 2, 48, 49, low=45.5, high=54.5), "accuracy@0.5/small": made.metric(20, 1)}
    quoted = made.quotes({made.HOSTILE: {"accuracy@0.5": 70.5}})
    hostile = {"title": made.HOSTILE, "question": made.HOSTILE, "quoted": quoted}
    counts = {"shuffled_phrases items": 9, "skipped": 2, "skipped by rule": 3}
    scores = {
        "synth.refer": made.entry(
            "refer",
            "accuracy@0.5",
            refer,
            1,
            counts,
            notes=[made.HOSTILE],
            published=Published(4, made.HOSTILE),
            **hostile,
        ),
        "synth.caption": made.entry("captions", "CIDEr", {"CIDEr": made.metric(90, 10)}),
        "scenes": made.entry("classification", "accuracy", {"accuracy": made.metric(50, 10)}),
    }
    about = made.ABOUT | {"checkpoint": made.HOSTILE, "recipe": made.HOSTILE}
    words = made.HOSTILE
    box = made.row(words, words, [[0.1, 0.2, 0.5, 0.6]], False, [picture], words, iou=0.3, type=words)
    caption = made.row("c", words, [words, "b"], None, [picture, "gone.png"], cider=12.0)
    scene = made.row("s", words, words, True, [words], named=[words])
    predictions = {
        "synth.refer": {"seen": [box], "shuffled_phrases": [box | {"answer": "other"}]},
        "synth.caption": {"seen": [caption, caption | {"id": "d", "answer": ""}], "shuffled_images": [caption]},
        "scenes": {"seen": [scene, scene | {"correct": False, "named": []}]},
    }
    return report(made.results(scores, about), predictions)


def test_hostile_text_stays_text(html, made):
    page = Page(html)
    assert page.open == []
    assert [a.get("type") for tag, a in page.tags if tag == "script"] == ["application/json"] * 3 + [None]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;" in html and "\u202e" not in html and html.encode()
    blocks = [json.loads(text) for name, text in page.data.items() if name]
    assert blocks[0]["rows"][0][0] == made.HOSTILE.replace("\u202e", "\ufffd").replace("\ud800", "?")
    assert not [text for name, text in page.data.items() if name and set(text) & set("<>&")]


def test_the_page_needs_no_network(html):
    page = Page(html)
    sources = [a.get("src") or a.get("href") for _, a in page.tags if "src" in a or "href" in a]
    assert sources and all(s.startswith(("data:image/jpeg;base64,", "#")) for s in sources)
    assert "http" not in re.sub(r'data:image/jpeg;base64,[^"]*', "", html).replace("http-equiv", "")
    assert "@import" not in html and "url(" not in html
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-[^' ]+'", policy
    )


def test_links_within_the_page_lead_somewhere(html):
    page = Page(html)
    anchors = {a["id"] for _, a in page.tags if "id" in a}
    links = {a["href"][1:] for _, a in page.tags if "href" in a}
    rows = [row for name, text in page.data.items() if name for row in json.loads(text)["rows"]]
    assert links | {row[4] for row in rows if row[4]} <= anchors
    assert [bool(row[4]) for row in rows] == [True, True, True, False, False]


def test_tables_boxes_and_words(html):
    page = Page(html)
    cells = [" ".join(cell.split()) for cell in page.cells]
    at = cells.index("50.045.5–54.5")
    assert cells[at - 1].endswith("accuracy@0.5") and cells[at + 1 : at + 3] == ["2.0", "48.0 (49.0)"]
    assert cells[at + 3].startswith("70.50") and cells[at + 4] == "1of 4"
    drawn = [a["class"] for tag, a in page.tags if tag == "polygon" and a["class"] != "grid"]
    # the one answer to synth.refer is in the random gallery alone; the hostile caption, which names a box, in two
    assert drawn[:3] == ["truth", "answer", "asked"] and set(drawn[3:]) == {"answer"}
    assert "1 of 4 published records: not comparable" in html and "our row stands here for orientation" in html
    assert "(no answer)" in html and "No picture" in html and "predictions/synth.refer.skipped.jsonl" in html
    assert "Most confused" in html and "IoU of the answers" in html and "A radar chart needs 3" in html
    assert [a["src"][:15] for tag, a in page.tags if tag == "img"] == ["data:image/jpeg"] * 5


def test_foreign_scores_without_predictions(made):
    about = {key: made.ABOUT[key] for key in ("date", "units", "caption_tokenizer")} | {
        "checkpoint": "their/answers.jsonl"
    }
    entry = made.entry("vqa", "accuracy", {"accuracy": made.metric(None)}, counts={"answers missing": 4})
    html = report(made.results({"x": entry}, about), {})
    assert "answers.jsonl: what it has learnt" in html and "answers missing: 4" in html
    assert "No answers were handed to this page" in html and "Search" not in html and Page(html).open == []


def test_what_a_suite_lacks_is_told(made):
    entry = made.entry("vqa", "accuracy", {"accuracy": made.metric(1)})
    about = {**made.ABOUT, "not_there": {"ucm.caption": f"no image {made.HOSTILE}"}}
    scores = made.results({"x": entry}, about)
    html, text = report(scores, {}), markdown(scores)
    said = "because the data are not there"
    for words in (html, text):
        assert said in words and "ucm.caption: no image " in words and "<script>document" not in words
    assert said not in markdown(made.results({"x": entry})) + report(made.results({"x": entry}), {})
