"""The page of a run: its numbers, its curves, and what a browser makes of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from skyeye import cli
from skyeye.html.line_chart import Curve, chart
from skyeye.runs.page import page
from skyeye.runs.read import read_run

HOSTILE = '</p><script>alert(1)</script><img src=x onerror="alert(2)">&lt;{{ 7 * 7 }}"\''


class Page(HTMLParser):
    """Tags with their attributes in order, and the texts of table cells."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.cells, self._open = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self._open = True
            self.cells.append("")

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data):
        if self._open:
            self.cells[-1] += data

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_numbers_of_a_run_stand_in_its_page(make_run):
    event = {"time": 1767323045.5, "event": "held back", "stage": "pretrain", "step": 20, "reason": "the loss is nan"}
    html = page(read_run(make_run(events=[event])))
    cells = Page(html).cells
    start = cells.index("pretrain")
    # steps, last and lowest loss, medians of samples/s (100, 200, 300) and of the rest
    assert cells[start : start + 10] == [
        "pretrain", "begun", "30 of 100", "2", "2", "200", "–", "25.0 %", "10 %", "1.50"
    ]  # fmt: skip
    assert cells[cells.index("tune") + 1] == "not begun"
    at = cells.index("held back")
    assert cells[at - 1 : at + 3] == [
        "2026-01-02T03:04:05+00:00", "held back", "pretrain, step 20", "reason: the loss is nan"
    ]  # fmt: skip
    assert "Stage pretrain, step 30 of 100, logged at 2026-01-02T03:04:05+00:00. Time left in this stage" in html
    assert "goes on: 90 s." in html and "30 records of the data were skipped" in html
    assert "record 19 is broken" in html and "record 20 is broken" not in html
    assert "torch 2.9" in html and "seed: 3" in html


def test_the_loss_is_drawn_where_it_belongs(make_run):
    run = read_run(make_run())
    drawn = chart("Loss", "", [Curve("a", 0, [(x["step"], x["loss"]) for x in run.lines])], (0, 30))
    # the field goes from 58 to 470 across and from 214 up to 12: 10, 20, 30 of 30; 4, 3, 2 between 2 and 4
    assert drawn.paths[0].d == "M195.3 12.0L332.7 113.0L470.0 214.0"
    assert drawn.x_ticks[0] == (58, "0") and drawn.x_ticks[-1] == (470, "30") and drawn.last == "2"
    assert [text for _, text in drawn.y_ticks] == ["2", "2.5", "3", "3.5", "4"]
    assert drawn.paths[0].d in page(run)


def test_benchmarks_scored_in_training_are_drawn(make_run):
    folder = make_run()
    (folder / "eval").mkdir()
    lines = [
        {"stage": "pretrain", "step": step, "scores": {"ships/accuracy": 2.0 * step, "ships/accuracy/count": 1.0}}
        for step in (10, 20)
    ]
    broken = [{"stage": "pretrain", "scores": {}}, {"stage": "elsewhere", "step": 1, "scores": {"ships/accuracy": 1}}]
    text = "".join(json.dumps(line) + "\n" for line in lines + broken)
    (folder / "eval" / "pretrain.jsonl").write_text(text)
    run = read_run(folder)
    assert [line["step"] for line in run.evaluations] == [10, 20, 1]
    assert run.notes == ["pretrain.jsonl: a line without stage, step and scores is skipped"]
    html = page(run)
    # as above: 10 and 20 of 30 steps across, 20 and 40 between 20 and 40
    assert "M195.3 214.0L332.7 12.0" in html and "scored in training" in html
    assert "accuracy/count" not in html


def test_a_loss_that_is_no_number_is_told(make_run):
    lines = [{"stage": "pretrain", "step": 1, "loss": None}, {"stage": "pretrain", "step": 2, "loss": 1.0}]
    html = page(read_run(make_run(lines=lines)))
    assert "The loss was no number in 1 logged steps: stage pretrain, step 1" in html


def test_answers_over_time_and_their_boxes(make_run):
    answers = [(10, "no idea"), (20, "<p>two</p> {<20><30><40><80>}")]
    html = page(read_run(make_run(answers=answers, question="[identify] {<0><0><50><50>}")))
    drawn = [(polygon["class"], polygon["points"]) for polygon in Page(html).of("polygon")]
    assert drawn == [
        ("question", "0.0,0.0 50.0,0.0 50.0,50.0 0.0,50.0"),
        ("expected", "10.0,20.0 30.0,20.0 30.0,60.0 10.0,60.0"),
        ("answer", "20.0,30.0 40.0,30.0 40.0,80.0 20.0,80.0"),
    ]
    cells = Page(html).cells
    assert cells[cells.index("no idea") - 1] == "10" and cells[cells.index("no idea") + 1] == "20"
    assert "held-out samples" in html and len(Page(html).of("img")) == 1


def test_hostile_texts_are_text(make_run):
    folder = make_run(
        recipe={"name": HOSTILE, HOSTILE: HOSTILE, "stages": [{"name": HOSTILE, "steps": 4}]},
        lines=[{"stage": HOSTILE, "step": n, "loss": 1.0, "time": HOSTILE} for n in (1, 2)],
        events=[{"event": HOSTILE, HOSTILE: HOSTILE, "time": [HOSTILE]}],
        answers=[(1, HOSTILE + "\ud800")],
        question=HOSTILE,
    )
    (folder / "skipped.txt").write_text(HOSTILE)
    (folder / "environment.json").write_text(json.dumps({HOSTILE: [HOSTILE]}))
    out = folder / "page.html"
    assert cli.main(["runs", "show", str(folder), "--out", str(out)]) == 0
    html = out.read_text(encoding="utf-8")
    found = Page(html)
    assert not found.of("script") and len(found.of("img")) == 1
    assert not any(key.startswith("on") for _, attributes in found.tags for key in attributes)
    assert all(a["src"].startswith("data:image/jpeg;base64,") for a in found.of("img"))
    assert "{{ 7 * 7 }}" in html and not re.search(r"https?://", html)
    policy = next(a["content"] for a in found.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_a_thumbnail_that_is_none_is_skipped(make_run):
    folder = make_run(answers=[(10, "a")])
    (folder / "samples" / "pictures" / f"{'0' * 16}.jpg").write_text("<svg/>")
    assert not Page(page(read_run(folder))).of("img")


def test_the_command_writes_into_the_folder_and_tells_mistakes(make_run, capsys):
    folder = make_run()
    assert cli.main(["runs", "show", str(folder)]) == 0
    told = capsys.readouterr().out
    assert f"page: {folder / 'run.html'}" in told and "step 30 of 100" in told
    assert cli.main(["runs", "show", str(folder / "nowhere")]) == 2


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_overflow(tmp_path, make_run, width):
    long = "x" * 400
    events = [{"event": "held back", "stage": "pretrain", "step": 3, "reason": long}]
    folder = make_run(events=events, answers=[(10, long), (20, "{<10><20><30><40>}")], recipe={"name": long})
    seen = in_browser(tmp_path, page(read_run(folder)), width)
    assert seen["width"] == width and seen["wide"] <= width
    assert seen["shown"] == [True] and seen["boxes"] == [True, True]
    assert len(seen["charts"]) == 7 and len(set(seen["columns"])) == (2 if width > 760 else 1)
    # curves have a size, and their labels can be read on a phone, too
    assert all(width > 100 and height > 20 for width, height in seen["charts"]) and min(seen["text"]) > 11


def in_browser(tmp_path: Path, html: str, width: int) -> dict:
    """What a headless browser says about the page in a window of that width."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium or google-chrome on this machine")
    # the page forbids scripts; the probe is let in for this test alone, and says what it sees in the title
    probe = """<script>addEventListener("load", () => {
      const size = e => { const b = e.getBoundingClientRect(); return [b.width, b.height] };
      document.title = JSON.stringify({
        wide: document.documentElement.scrollWidth, width: innerWidth,
        shown: [...document.images].map(i => i.naturalWidth > 0 && i.getBoundingClientRect().width > 50),
        boxes: [...document.querySelectorAll("polygon")].map(p => size(p)[0] > 0),
        charts: [...document.querySelectorAll(".chart svg")].map(size),
        columns: [...document.querySelectorAll(".chart")].slice(0, 2).map(c => c.getBoundingClientRect().left),
        text: [...document.querySelectorAll(".chart text")].map(t => size(t)[1])}) })</script>"""
    policy = "default-src 'none'; img-src data:"
    assert policy in html
    html = html.replace(policy, policy + "; script-src 'unsafe-inline'").replace("</body>", f"{probe}</body>")
    frame = tmp_path / "frame.html"  # a headless window is never narrower than 500 pixels, a frame is
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    frame.write_text(
        f'<body><iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe><script>'
        'addEventListener("load", () => setTimeout(() => { document.title = frames[0].document.title }, 300))</script>'
    )
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--allow-file-access-from-files", "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom"]
    result = subprocess.run([*command, frame.as_uri()], capture_output=True, text=True, timeout=600, check=False)
    return json.loads(re.search(r"<title>(\{.*?\})</title>", result.stdout)[1].replace("&quot;", '"'))
