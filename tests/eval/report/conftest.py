"""Scores and predictions made by hand, and a browser that says what it sees of a page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from skyeye.eval.results import BenchmarkResult, EvalResults, MetricValue, Protocol, QuotedResults

HOSTILE = (
    "</script><script>document.title=1</script>\"'><img src=x onerror=alert(2)>&\u2028\u202e{<10><10><50><60>}\ud800\0"
)
SOURCE = "a paper, table 1"
ABOUT = {
    "checkpoint": "runs/first/final",
    "recipe": "first",
    "stage": "tune",
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


def metric(value, images=None, phrases=None, same=None, low=None, high=None) -> MetricValue:
    return MetricValue(value, images, phrases, low, high, same)


def entry(
    family: str, main: str, metrics: dict[str, MetricValue], records: int = 400, counts=(), **protocol
) -> BenchmarkResult:
    """One benchmark; ``protocol`` overrides its words."""
    known = {"records": records, "images": records, "shuffled_phrases items": 0, "skipped": 0, "skipped by rule": 0}
    words = {
        "title": family,
        "question": "[x] q",
        "decoding": "greedy",
        "metric": "m",
        "shuffled_images": "b",
        "interval": "95 %, 1,000 samples",
    }
    how = Protocol(**{"family": family, "main_metric": main, **words, **protocol})
    return BenchmarkResult(metrics, {**known, **dict(counts)}, how)


def quotes(rows: dict[str, dict[str, float]]) -> QuotedResults:
    return QuotedResults("t", "s", SOURCE, (), rows)


def results(benchmarks: dict[str, BenchmarkResult], about: dict[str, Any] = ABOUT) -> EvalResults:
    return EvalResults(benchmarks, about)


def row(
    id: str, answer: str, truth: Any, correct: bool | None, images=(), question: str = "[x] q", **more
) -> dict[str, Any]:
    return {
        "id": id,
        "images": list(images),
        "question": question,
        "answer": answer,
        "truth": truth,
        "correct": correct,
    } | more


@pytest.fixture
def made():
    """The makers of this file, which test modules cannot import."""
    return types.SimpleNamespace(
        metric=metric, entry=entry, results=results, quotes=quotes, row=row, ABOUT=ABOUT, HOSTILE=HOSTILE, SOURCE=SOURCE
    )


@pytest.fixture(scope="session")
def picture(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.new("RGB", (600, 300), (20, 120, 40)).save(path)
    return str(path)


@pytest.fixture(scope="session")
def browse(tmp_path_factory) -> Callable[[str, int, str], dict[str, Any]]:
    """(page, width in pixels, JavaScript expression) -> what the expression gives when the page has loaded, with
    ``errors``, ``requests``, ``wide`` (of the document) and ``width`` (of the window)."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium or google-chrome on this machine")

    def look(html: str, width: int, expression: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("browser")
        early = (
            "window.seenErrors = []; addEventListener('error', e => seenErrors.push(String(e.message)));"
            "addEventListener('securitypolicyviolation', e => seenErrors.push(e.violatedDirective))"
        )
        late = (
            f"addEventListener('load', () => setTimeout(async () => {{ const found = await (async () => {expression})()"
            "; document.title = 'seen:' + btoa(encodeURIComponent(JSON.stringify({ ...found, errors: seenErrors,"
            "wide: document.documentElement.scrollWidth, width: innerWidth, requests: performance"
            ".getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:')) }))) }, 100))"
        )
        # the page's policy stays as it is; the two probes are let in beside its own script
        for script in (early, late):
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            html = html.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ", 1)
        html = html.replace("<title>", f"<script>{early}</script><title>", 1)
        html = html[: html.rindex("</body>")] + f"<script>{late}</script></body></html>"
        (folder / "page.html").write_text(html, encoding="utf-8")
        frame = folder / "frame.html"  # a headless window is never narrower than 500 pixels, a frame is
        frame.write_text(
            f'<body><iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe><script>'
            "setInterval(() => { const title = frames[0].document.title; "
            "if (title.startsWith('seen:')) document.title = title }, 50)</script>"
        )
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
        command += [
            f"--user-data-dir={folder / 'profile'}",
            "--allow-file-access-from-files",
            "--window-size=1400,1000",
        ]
        command += ["--virtual-time-budget=6000", "--dump-dom", Path(frame).as_uri()]
        result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        found = re.search(r"<title>seen:([^<]*)</title>", result.stdout)
        assert found, result.stderr[-2000:]
        seen = json.loads(unquote(base64.b64decode(found[1]).decode()))
        return {**seen, "console": [line for line in result.stderr.splitlines() if ":CONSOLE" in line]}

    return look
