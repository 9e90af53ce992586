"""The pages in a real browser, at the width of a desk and of a phone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from skyeye.eval.metrics.bootstrap import Difference
from skyeye.eval.report import comparison, report

WIDTHS = (1280, 390)


@pytest.fixture
def result(made, tmp_path):
    """Scores and predictions of all kinds: three quoted benchmarks, 46 classes, hostile and very long words."""
    Image.new("RGB", (300, 200), (20, 120, 40)).save(tmp_path / "a.png")
    image, long = str(tmp_path / "a.png"), "x" * 400
    rows = {f"method {n} {long[: 40 * (n == 9)]}": {"accuracy": 10.0 * n} for n in range(10)}
    scores, predictions = {}, {}
    for name in ("vqa_one", "vqa_two", f"vqa_{long}"):
        metrics = {
            "accuracy": made.metric(50, 20, low=45, high=55),
            "accuracy/count": made.metric(20, 10, low=9, high=31),
        }
        scores[name] = made.entry(
            "vqa", "accuracy", metrics, 30, quoted=made.quotes(rows), title=f"VQA {made.HOSTILE}{long}"
        )
        answers = [
            made.row(f"q{n}", f"answer {n}", "yes", n % 3 == 0, [image], type="count" if n % 2 else "presence")
            for n in range(60)
        ]
        predictions[name] = {
            "seen": [*answers, made.row("h", made.HOSTILE + long, made.HOSTILE, False, [image], type=long)]
        }
    classes = [f"class {n} of many" for n in range(46)]
    parts = {f"accuracy/{x}": made.metric(50, 2, low=40, high=60) for x in classes}
    scores["scenes"] = made.entry("classification", "accuracy", {"accuracy": made.metric(70, 3), **parts}, 92)
    named = [
        made.row(f"s{n}", "", classes[n % 46], n < 46, [image], named=[classes[(n * n) % 46 if n >= 46 else n]])
        for n in range(92)
    ]
    predictions["scenes"] = {"seen": named}
    scores["refer"] = made.entry("refer", "accuracy@0.5", {"accuracy@0.5": made.metric(40, 1)}, 20, notes=[long])
    boxes = [
        made.row(f"r{n}", "{<10><10><50><60>}", [[0.1, 0.1, 0.5, 0.7]], n > 9, [image], iou=n / 20) for n in range(20)
    ]
    predictions["refer"] = {"seen": boxes, "shuffled_images": boxes}
    return made.results(scores, made.ABOUT | {"recipe": "mine", "checkpoint": long}), predictions


LOOK = """{
  const size = e => { const b = e.getBoundingClientRect(); return [b.width, b.height] };
  const wait = () => new Promise(done => setTimeout(done, 50));
  const found = { title: document.title, cells: document.querySelectorAll(".confusion svg rect[fill-opacity]").length };
  found.boxes = [...document.querySelectorAll(".picture polygon")].map(size);
  found.images = document.images.length;
  found.text = [...document.querySelectorAll(".histogram text")].map(t => size(t)[1]);
  const all = [...document.querySelectorAll("[data-curve]")];
  const curves = () => all.filter(g => size(g)[0] > 0).map(g => g.dataset.curve);
  found.curves = curves().sort();
  const toggle = document.querySelector("[data-series='1']");
  toggle.click(); found.without = curves().length;
  document.querySelector("[data-series='9']").click(); found.other = curves().includes("9");
  const cell = document.querySelector(".confusion rect title").parentElement;
  cell.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  found.told = document.querySelector(".told").textContent;
  const search = document.querySelector("details[data-rows]");
  search.open = true; await wait();
  const list = () => [...search.querySelectorAll("article")].map(a => a.textContent);
  const set = (e, value, event) => { e.value = value; e.dispatchEvent(new Event(event)) };
  const type = text => set(search.querySelector("input"), text, "input");
  const pick = (n, value) => set(search.querySelectorAll("select")[n], value, "change");
  found.all = list().length;
  search.querySelector("button").click(); found.more = list().length;
  found.count = search.querySelector(".found").textContent;
  type("ANSWER 17"); found.word = list();
  type("zzzz"); found.nothing = list().length;
  type(""); pick(0, "right"); pick(1, "count"); found.filtered = search.querySelector(".found").textContent;
  pick(0, ""); pick(1, ""); type("onerror"); found.hostile = list().length;
  found.scripts = document.querySelectorAll(".answers script, .answers img").length;
  for (const other of document.querySelectorAll("details")) other.open = true;
  await wait();
  return found }"""


@pytest.mark.parametrize("width", WIDTHS)
def test_report(result, browse, width):
    seen = browse(report(*result), width, LOOK)
    assert seen["errors"] == [] and seen["console"] == [] and seen["requests"] == []
    assert seen["width"] == width and seen["wide"] <= width
    assert seen["title"] == "skyeye: scores of mine"
    assert seen["cells"] > 46 and all(w > 5 and h > 5 for w, h in seen["boxes"]) and len(seen["boxes"]) >= 40
    assert min(seen["text"]) >= 11  # readable on a phone, too
    assert seen["curves"] == ["1", "2", "3", "4"] and seen["without"] == 3 and seen["other"]
    assert " → " in seen["told"] and " of 2 (" in seen["told"]
    assert seen["all"] == 25 and seen["more"] == 50 and seen["count"] == "61 of 61 answers"
    assert len(seen["word"]) == 1 and "answer 17" in seen["word"][0] and seen["nothing"] == 0
    # right are the multiples of 3 below 60, count the odd ones: 10 of them
    assert seen["filtered"] == "10 of 61 answers"
    assert seen["hostile"] == 1 and seen["scripts"] == 0


COMPARE = """{
  const search = document.querySelector("details[data-rows]");
  search.open = true; await new Promise(done => setTimeout(done, 50));
  const select = search.querySelector("select");
  select.value = "wrong → right"; select.dispatchEvent(new Event("change"));
  return { count: search.querySelector(".found").textContent, first: search.querySelector("article .mark").className,
    kinds: [...document.querySelectorAll("polygon.answer2")].length,
    bars: [...document.querySelectorAll(".difference .ci")].map(e => e.getBoundingClientRect().width) } }"""


@pytest.mark.parametrize("width", WIDTHS)
def test_comparison(result, browse, width):
    scores, predictions = result
    differences = {
        name: {entry.protocol.main_metric: Difference(40.0, 50.0, 10.0, 2.0, 18.0, 0.01)}
        for name, entry in scores.benchmarks.items()
    }
    other = {
        name: {
            "seen": [row | {"answer": f"other {row['answer']}", "correct": not row["correct"]} for row in of["seen"]]
        }
        for name, of in predictions.items()
    }
    html = comparison(scores, replace(scores, about={"checkpoint": "b" * 300}), differences, predictions, other)
    seen = browse(html, width, COMPARE)
    assert seen["errors"] == [] and seen["console"] == [] and seen["requests"] == []
    assert seen["width"] == width and seen["wide"] <= width
    assert (
        seen["count"] == "41 of 61 answers" and seen["first"] == "mark pass"
    )  # 40 not multiples of 3, and the hostile one
    assert seen["kinds"] >= 20 and min(seen["bars"]) > 20
