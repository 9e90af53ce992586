"""The page in a browser: tasks, answers and files, on a desktop and a phone, without any other address than its own."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skyeye.serve.answer import make_answer
from skyeye.serve.model import Model

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ANSWERS = {
    "[caption] Briefly describe the image.": "<p>a ship</p> {<10><20><40><70>} and <p>a dock</p> {<90><50><60><80>}",
    "[refer] the ship": "{<10><20><40><70>}",
}


class Saying(Model):
    """A model that streams what a test wants; everything around it is as always."""

    def pieces(self, request, max_new_tokens, sampling):
        question = self.builder.style.question(request.turns[-1])
        text = ANSWERS.get(question, f"You asked: {question}; at most {max_new_tokens}, {sampling.temperature:g}")
        first = request.pictures[0] if request.pictures else None
        yield from re.findall(r"\S+\s*", text)
        yield make_answer(
            text,
            self.builder.style,
            first and first.image.size,
            question=question,
            image=first and first.image,
            place=first and first.place,
            prompt=self.builder.written(len(request.pictures), request.turns),
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page's own folder, and a current folder in which nothing may appear."""
    here = tmp_path_factory.mktemp("here")
    before = Path.cwd()
    os.chdir(here)
    yield tmp_path_factory.mktemp("page")
    os.chdir(before)
    assert list(here.iterdir()) == [], "something was written outside the page's folder"


@pytest.fixture(scope="module")
def pages(small_parts, folder):
    """A function: names of models and settings -> the address of their page; closed at the end."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    from skyeye.serve.web.run import Settings, launch_models
    from skyeye.serve.web.visitor import NamedModel

    running = []

    def start(*names, **settings):
        models = [NamedModel(name, Saying(*small_parts)) for name in names]
        place = folder / "-".join(names)
        place.mkdir()
        running.append(launch_models(models, Settings(port=0, **settings), place))
        return running[-1].local_url

    yield start
    for page in running:
        page.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def opened(browser, url, **context):
    """A tab with the page, and the requests that it made to other addresses or that failed in its script."""
    for old in browser.contexts:
        old.close()  # of an earlier test: its page would go on working
    tab = browser.new_context(**context).new_page()
    tab.set_default_timeout(60_000)
    wrong = []
    own = (url, "data:", "blob:", url.replace("http", "ws"))
    tab.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url))
    # Gradio's own bundles now and then fail on a busy machine and go on; what fails in ours is told
    tab.on("pageerror", lambda error: None if "/assets/" in (error.stack or "") else wrong.append(str(error)))
    tab.goto(url)
    tab.wait_for_selector("#sk-ask")
    return tab, wrong


def ask(tab, question, waits_for):
    from playwright.sync_api import Error

    tab.fill("#sk-question textarea", question)
    tab.click("#sk-ask")
    try:
        tab.wait_for_selector(f"#sk-talk-0 .sk-said:has-text('{waits_for}')")
    except Error as error:  # what stands there instead says more than that something does not
        raise AssertionError(f"waited for {waits_for!r}, there is {tab.inner_text('#sk-talk-0')!r}") from error


def slide(tab, slider, value):
    """A number is typed beside a slider until the slider itself follows: one that is just being built forgets it."""
    from playwright.sync_api import TimeoutError as Late

    for left in reversed(range(10)):
        tab.fill(f"{slider} input[type=number]", str(value))
        tab.press(f"{slider} input[type=number]", "Tab")
        try:
            there = f"document.querySelector('{slider} input[type=range]').value === '{value}'"
            return tab.wait_for_function(there, timeout=2_000)
        except Late:
            assert left, f"{slider} never became {value}"


@pytest.fixture
def geotiff(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "width": 80, "height": 60, "count": 3, "dtype": "uint16", "crs": "EPSG:32632"}
    transform = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
    with rasterio.open(tmp_path / "harbour.tif", "w", **profile, transform=transform) as file:
        file.write(np.random.default_rng(0).integers(100, 4000, (3, 60, 80), dtype=np.uint16))
    return tmp_path / "harbour.tif"


def test_tasks_answers_boxes_files_and_regions(browser, pages, geotiff, tmp_path):
    url = pages("first")
    tab, wrong = opened(browser, url, viewport={"width": 1360, "height": 1000}, accept_downloads=True)

    # what cannot be shown is told by its own name
    (tmp_path / "paper.png").write_bytes(b"%PDF-1.7 and so on")
    tab.set_input_files("#sk-upload input[type=file]", tmp_path / "paper.png")
    tab.wait_for_selector("#sk-message .sk-error:has-text('paper.png: not an image: it is a PDF document')")

    # an example, then tasks: each writes its tag and a hint
    tab.locator("#sk-examples button").nth(1).click()
    tab.wait_for_selector("figure.sk-picture figcaption:has-text('scene 2.png')")
    for task, begins, hint in (
        ("conversation", "", "own words"),
        ("detail", "Describe", "Several"),
        ("vqa", "[vqa] ", "short answer"),
        ("identify", "[identify] ", "Draw a box"),
        ("detection", "[detection] ", "box for each"),
        ("grounding", "[grounding] Describe", "objects have boxes"),
        ("classification", "[vqa] Classify", "separated by commas"),
        ("refer", "[refer] ", "its box"),
        ("caption", "[caption] Briefly", "One sentence"),
    ):
        tab.click(f"#sk-task-{task}")
        tab.wait_for_selector(f"#sk-hint:has-text('{hint}')")
        assert tab.input_value("#sk-question textarea").startswith(begins)
        if task == "classification":
            tab.fill("#sk-classes textarea, #sk-classes input", "port, beach")
            tab.wait_for_function("document.querySelector('#sk-question textarea').value.includes('port, beach.')")

    # the answer's boxes: in the text, drawn, switched, listed; its files
    tab.click("#sk-ask")
    tab.wait_for_selector("#sk-table-0 td:has-text('corners swapped')")
    marks = tab.locator("#sk-talk-0 mark")
    colours = marks.evaluate_all("all => all.map(one => getComputedStyle(one).borderBottomColor)")
    assert colours == ["rgb(255, 59, 48)"] * 2 + ["rgb(255, 214, 10)"] * 2
    before = tab.get_attribute("figure.sk-picture img", "src")
    tab.click("#sk-switches-0 label:has-text('2. a dock')")
    tab.wait_for_function("src => document.querySelector('figure.sk-picture img').src != src", arg=before)
    tab.wait_for_selector("#sk-file-geojson-0:has-text('no coordinates')")
    switched_off = lambda: len(json.loads(download(tab, "#sk-file-coco-0").read_text())["categories"]) == 1  # noqa: E731
    assert any(switched_off() or tab.wait_for_timeout(200) for _ in range(50))
    taken = {name: download(tab, f"#sk-file-{name}-0") for name in ("picture", "csv", "conversation")}
    assert Image.open(taken["picture"]).size == (448, 448)
    assert [line.split(",")[0] for line in taken["csv"].read_text().splitlines()] == ["label", "a ship"]
    assert json.loads(taken["conversation"].read_text())["turns"][0]["answer"].startswith("<p>a ship</p>")
    tab.click("#sk-exact-0 button")
    prompt = "<s><s>[INST] <Img><ImageHere></Img> [caption] Briefly describe the image. [/INST]"
    assert tab.input_value("#sk-prompt-0 textarea") == prompt

    # a picture with coordinates: its stretch is told, boxes have places, another one begins the conversation anew
    tab.set_input_files("#sk-upload input[type=file]", geotiff)
    tab.wait_for_selector("figcaption:has-text('harbour.tif · 80 × 60 pixels · bands 1, 2, 3 of 3, uint16 · black to')")
    assert tab.locator("#sk-talk-0 .sk-turn").count() == 0
    ask(tab, "[refer] the ship", "{<10><20><40><70>}")
    tab.wait_for_selector("#sk-table-0 td:has-text('9.000127, 45.15')")
    written = json.loads(download(tab, "#sk-file-geojson-0").read_text())
    assert written["features"][0]["properties"]["label"] == "the ship"

    # a region drawn with the mouse
    frame = tab.locator(".sk-frame").bounding_box()
    tab.mouse.move(frame["x"] + frame["width"] * 0.25, frame["y"] + frame["height"] * 0.5)
    tab.mouse.down()
    tab.mouse.move(frame["x"] + frame["width"] * 0.5, frame["y"] + frame["height"] * 0.75)
    tab.mouse.up()
    tab.wait_for_function("document.querySelector('#sk-region textarea, #sk-region input').value === '20, 30, 40, 45'")
    assert tab.locator(".sk-frame rect").get_attribute("width") == "20"
    assert wrong == []


def test_regions_length_stop_and_a_new_conversation(browser, pages):
    tab, wrong = opened(browser, pages("other"), viewport={"width": 1360, "height": 1000})
    tab.locator("#sk-examples button").first.click()
    tab.wait_for_selector("figure.sk-picture figcaption")
    tab.fill("#sk-region textarea, #sk-region input", "56, 112, 112, 168")
    tab.wait_for_selector(".sk-frame svg rect", state="attached")  # what is typed has arrived
    tab.click("#sk-how button")
    slide(tab, "#sk-longest", 17)
    ask(tab, "[identify]", "{<25><50><50><75>}; at most 17, 0")
    ask(tab, "and this?", "You asked: and this?")
    assert tab.locator("#sk-talk-0 .sk-asked").count() == 2
    tab.click("#sk-clear")
    tab.wait_for_function("document.querySelector('#sk-region textarea, #sk-region input').value === ''")
    tab.click("#sk-stop")
    tab.click("#sk-new")
    tab.wait_for_selector("#sk-message:has-text('begins anew')")
    assert tab.locator("#sk-talk-0 .sk-turn").count() == 0
    assert not tab.locator("#sk-switches-0").is_visible(), "there are no boxes"
    assert wrong == []


def download(tab, button):
    """The file behind a button."""
    tab.wait_for_selector(f"{button}:not([disabled])")
    with tab.expect_download() as found:
        tab.click(button)
    return Path(found.value.path())


def test_two_models_on_a_phone_in_the_dark(browser, pages):
    url = pages("left", "right")
    phone = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
    tab, wrong = opened(browser, url, **phone)
    tab.locator("#sk-examples button").first.click()
    tab.wait_for_selector("#sk-picture-1 figure")
    ask(tab, "[refer] the ship", "{<10><20><40><70>}")
    tab.wait_for_selector("#sk-talk-1 mark")
    assert tab.locator("#sk-talk-1 .sk-who").last.inner_text() == "right"
    for number in (0, 1):
        tab.wait_for_selector(f"#sk-switches-{number} label:has-text('1. the ship')")
        tab.wait_for_selector(f"#sk-file-coco-{number}:not([disabled])")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is wider than the phone"
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(value) for value in background.removeprefix("rgb(").removesuffix(")").split(",")) < 150
    tab.click("#sk-draw")
    assert tab.get_attribute("#sk-draw", "aria-pressed") == "true"
    # the keyboard alone: from the question to Ask
    tab.focus("#sk-question textarea")
    tab.keyboard.type("how many?")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "sk-ask"
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#sk-talk-0 .sk-said:has-text('You asked: how many?')")
    assert wrong == []


def test_a_page_with_passwords_lets_nobody_else_in(browser, pages):
    url = pages("closed", auth=[("me", "secret")])
    tab = browser.new_context().new_page()
    tab.goto(url)
    tab.wait_for_selector("input[type=password]", timeout=60_000)
    assert tab.locator("#sk-ask").count() == 0
