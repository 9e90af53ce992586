"""Parts of the page that need neither gradio nor a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import socket

import numpy as np
import pytest
from PIL import Image

from skyeye.config.schema import PromptConfig
from skyeye.data.images.georeference import Georeference
from skyeye.data.prompts import MiniGPTv2, prompt_style
from skyeye.errors import SkyEyeError
from skyeye.serve.answer import make_answer
from skyeye.serve.box_files import to_coco, to_csv
from skyeye.serve.draw import COLOURS
from skyeye.serve.pictures import Shown
from skyeye.serve.web import render
from skyeye.serve.web.downloads import write_files
from skyeye.serve.web.run import Settings, check_port, find_examples, parse_auth
from skyeye.serve.web.tasks import BUTTONS, begin, split_tag
from skyeye.serve.web.uploads import Limits, Opened, open_uploads
from skyeye.serve.web.visitor import How, NamedModel, Visitor

STYLE = MiniGPTv2()
TEXT = "<p>a ship</p> {<10><20><40><70>} <p>a <b>dock</b></p> {<60><50><50><80>}"
PLACE = Georeference((0.5, 0.0, 500_000.0, 0.0, -0.5, 5_000_000.0), "EPSG:32632")


@pytest.fixture
def answer():
    return make_answer(TEXT, STYLE, (200, 100), image=Image.new("RGB", (200, 100), "green"))


# ---------------------------------------------------------------------------------------------------------- questions


def test_buttons_write_the_tag_of_the_family_and_words():
    written = {button.task: begin(button, STYLE, "a, b") for button in BUTTONS}
    assert written["conversation"] == " " and written["refer"] == "[refer] "
    assert written["caption"] == "[caption] Briefly describe the image."
    assert written["classification"].startswith("[vqa] Classify the image within one of the given classes: a, b. ")
    vhm = prompt_style(PromptConfig(style="vhm"))
    assert begin(BUTTONS[-1], vhm).startswith("{CLS} Classify")
    assert begin(BUTTONS[1], vhm) == "Briefly describe the image.", "a family without the tag gets the words alone"


def test_the_tag_is_read_back_as_the_task_that_was_pressed():
    assert split_tag(" [refer] the plane", STYLE, "refer") == ("refer", "the plane")
    assert split_tag("[vqa] Classify", STYLE, "classification") == ("classification", "Classify")
    assert split_tag("[vqa] how many?", STYLE, "refer") == ("vqa", "how many?")
    assert split_tag("how many?", STYLE, "vqa") == ("conversation", "how many?")


def test_regions_are_four_numbers():
    assert render.parse_region(" ") is None and render.parse_region("1, 2;3,4.5") == (1, 2, 3, 4.5)
    for text in ("1,2,3", "a,b,c,d", "1 2 3 4"):
        with pytest.raises(SkyEyeError, match="Region: .* is no region"):
            render.parse_region(text)


def test_auth_is_a_name_and_a_password():
    assert parse_auth(["a:b:c"]) == [("a", "b:c")]
    for text in ("a", "a:", ":b"):
        with pytest.raises(SkyEyeError, match="--auth: is no name and password"):
            parse_auth([text])


def test_a_port_in_use_and_examples_that_are_none_are_told(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SkyEyeError, match=f"--port: localhost:{port} cannot be used"):
            check_port(Settings(port=port))
    with pytest.raises(SkyEyeError, match="--examples .*holds no pictures"):
        find_examples(tmp_path / "gone", tmp_path)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)).save(tmp_path / "given" / "deep.png")
    (tmp_path / "page").mkdir()
    (example,) = find_examples(tmp_path / "given", tmp_path / "page")
    assert example.file.name == "deep.png" and Image.open(example.preview).mode == "RGB"
    assert "example left out" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------ uploads


def test_uploads_are_read_within_limits_and_told(tmp_path):
    Image.new("1", (20_000, 15_000)).save(tmp_path / "large.png")
    (tmp_path / "paper.png").write_bytes(b"%PDF-1.7 and so on")
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    (opened,) = open_uploads([str(tmp_path / "a.png")], Limits())
    assert opened.shown.name == "a.png" and opened.told == "a.png · 40 × 30 pixels"
    cases = {
        "large.png": r"^large.png: the picture has 20000 x 15000 pixels \(300 million\), more than the 100 million",
        "paper.png": r"^paper.png: not an image: it is a PDF document \(save its pictures as PNG\)$",
    }
    for name, error in cases.items():
        with pytest.raises(SkyEyeError, match=error):
            open_uploads([str(tmp_path / name)], Limits())
    with pytest.raises(SkyEyeError, match="a.png: the file has 0 MiB, more than the 0 that this page takes"):
        open_uploads([str(tmp_path / "a.png")], Limits(bytes=10))
    with pytest.raises(SkyEyeError, match="9 pictures at once .at most 8"):
        open_uploads([str(tmp_path / "a.png")] * 9, Limits())


def test_the_stretch_of_more_than_8_bits_is_told(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    values = np.arange(4 * 60 * 50, dtype=np.uint16).reshape(4, 60, 50)
    profile = {"driver": "GTiff", "width": 50, "height": 60, "count": 4, "dtype": "uint16", "crs": "EPSG:32632"}
    with rasterio.open(tmp_path / "s.tif", "w", **profile, transform=rasterio.Affine(*PLACE.transform)) as file:
        file.write(values)
    (opened,) = open_uploads([str(tmp_path / "s.tif")], Limits())
    assert opened.shown.place == PLACE
    # of 0..2999, the 2nd and 98th percentile are 59.98 and 2939.02
    assert "bands 1, 2, 3 of 4, uint16 · black to white: 59.98–2939.02, 3059.98–5939.02" in opened.told
    assert opened.told.endswith("(percentiles 2 and 98) · EPSG:32632")
    (opened,) = open_uploads([str(tmp_path / "s.tif")], Limits(), " 4 ", "abs:0..12000")
    assert "band 4 of 4, uint16 · black to white: 0–12000 (given)" in opened.told
    with pytest.raises(SkyEyeError, match=r"s.tif: bands 'x' are not one or three numbers"):
        open_uploads([str(tmp_path / "s.tif")], Limits(), "x")


# ------------------------------------------------------------------------------------------------------ what is shown


def test_phrases_have_the_colours_of_their_boxes_and_nothing_is_html(answer):
    html = render.coloured(answer, "?", STYLE)
    assert re.findall(r'--box:(#\w+)"', html) == [COLOURS[0]] * 2 + [COLOURS[1]] * 2
    assert "&lt;b&gt;dock&lt;/b&gt;" in html and "<b>" not in html
    assert 'title="corners swapped" class="sk-lenient"' in html
    assert re.sub(r"</?mark[^>]*>", "", html) == TEXT.replace("<", "&lt;").replace(">", "&gt;")
    table = render.box_table(answer)
    assert "20, 20 – 80, 70" in table and "corners swapped" in table and "<b>" not in table
    assert render.box_names(answer) == ["1. a ship", "2. a <b>dock</b>"]
    assert "&lt;script&gt;" in render.message("<script>") and "<script>" not in render.transcript(
        [render.Exchange("<script>", "<script>", error="<script>")], STYLE, "<script>"
    )


def test_boxes_of_a_large_picture_are_drawn_on_its_small_form():
    image = Image.new("RGB", (4000, 2000), "black")
    answer = make_answer("{<25><50><75><100>}", STYLE, image.size, image=image)
    html = render.picture([Opened(Shown(image), "told <i>")], answer.boxes, (1, 2, 3, 4))
    assert 'data-width="4000" data-height="2000"' in html and "told &lt;i&gt;" in html
    assert '<rect x="1" y="2" width="2" height="2"/>' in html
    drawn = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])))
    assert drawn.size == (1280, 640)
    red = np.argwhere((np.asarray(drawn).astype(int) - (255, 59, 48)).__abs__().sum(-1) < 60)
    assert [*red.min(0)[::-1], red.max(0)[1]] == pytest.approx([320, 320, 960], abs=6)


# ---------------------------------------------------------------------------------------------------------- downloads


def test_files_hold_the_boxes_that_are_switched_on(answer, tmp_path):
    exchanges = [render.Exchange("where?", TEXT, answer), render.Exchange("and?", error="no")]
    files = write_files(tmp_path, "my scene.png", answer, [1], exchanges)
    assert set(files) == {"picture", "coco", "csv", "conversation"}, "there are no coordinates"
    assert all(path.is_relative_to(tmp_path) for path in files.values())
    coco = json.loads(files["coco"].read_text())
    assert [a["bbox"] for a in coco["annotations"]] == [[100, 50, 20, 30]]
    assert coco["images"][0] == {"id": 1, "file_name": "my scene.png", "width": 200, "height": 100}
    assert Image.open(files["picture"]).size == (1000, 500)
    talk = json.loads(files["conversation"].read_text())
    assert [turn["question"] for turn in talk["turns"]] == ["where?", "and?"] and talk["turns"][1]["error"] == "no"
    assert write_files(tmp_path, "x", None, [], []) == {}


def test_coco_and_csv(answer):
    coco = to_coco(answer, "a.png")
    assert coco["categories"] == [{"id": 1, "name": "a ship"}, {"id": 2, "name": "a <b>dock</b>"}]
    assert coco["annotations"][0]["area"] == 60 * 50 and coco["annotations"][1]["marks"] == ["corners swapped"]
    lines = to_csv(answer).splitlines()
    assert lines[0].startswith("label,x1,y1,x2,y2,corners") and len(lines) == 3
    assert lines[1] == 'a ship,20.0,20.0,80.0,70.0,"20.00,20.00 80.00,20.00 80.00,70.00 20.00,70.00",,,,'
    placed = to_csv(make_answer("{<0><0><50><100>}", STYLE, (200, 100), place=PLACE)).splitlines()[1]
    assert 'EPSG:32632,"500000.000,5000000.000 500050.000,5000000.000' in placed


# -------------------------------------------------------------------------------------------------------- conversations


def test_both_models_are_asked_and_mistakes_stay_on_the_page(model, picture):
    visitor = Visitor([NamedModel("a", model), NamedModel("b", model)])
    visitor.show([Opened(Shown(picture), "p")])
    assert set(visitor.ask("how many ships are there?", None, How(8))) == {0, 1}
    assert visitor.answer(0) == visitor.answer(1) and visitor.answer(0).tokens <= 8
    list(visitor.ask("ships " * 10_000, None, How(8)))
    assert "the prompt has" in visitor.exchanges[0][-1].error and len(visitor.chats[0].turns) == 1
    list(visitor.ask("[identify]", (500, 0, 600, 9), How(8)))
    assert "has no area inside the picture of 40 x 30 pixels" in visitor.exchanges[1][-1].error
    with pytest.raises(SkyEyeError, match="the question is empty"):
        list(visitor.ask(" ", None, How(8)))
    list(visitor.ask("/new", None, How(8)))
    assert visitor.exchanges == [[], []] and visitor.answer(0) is None
