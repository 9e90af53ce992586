import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skyeye import cli
from skyeye.config.schema import PromptConfig
from skyeye.curate.show import show
from skyeye.data.formats.instructions.llava import read_turn, split_tag
from skyeye.data.record import Record, Region, Turn, choose
from skyeye.data.sequence import SequenceBuilder
from skyeye.errors import SkyEyeError
from skyeye.models.tokenizer import load_tokenizer, train_tokenizer

ABOUT = {"target": "my set", "tokenizer": "words"}


def record(id: str = "1", task: str = "vqa", question: str = "[vqa] how many?", answer: str = "3", **more) -> Record:
    return Record(
        id, "s", task, "train", more.pop("images", ()), (read_turn(split_tag(question)[1], answer, task),), **more
    )


@pytest.fixture(scope="module")
def builder() -> SequenceBuilder:
    return SequenceBuilder(train_tokenizer(["how many ships", "3", "a pier"], 700), PromptConfig(), 4)


@pytest.fixture
def image(tmp_path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


class Page(HTMLParser):
    """Tags with their attributes in order, and the text of the tokens by part and class."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.tokens, self._part, self._open = [], [], None, None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        of = dict(attributes)
        self.tags.append((tag, of))
        if tag == "div" and of.get("class") in ("prefix", "branch"):
            self._part = of["class"]
        if tag == "i":
            self._open = (self._part, of.get("class"), of["title"].removeprefix("id "))
            self.tokens.append([*self._open, ""])

    def handle_endtag(self, tag):
        if tag == "i":
            self._open = None

    def handle_data(self, data):
        if self._open:
            self.tokens[-1][3] += data

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_tokens_are_those_of_training_and_the_learnt_ones_are_marked(builder, image):
    one = record(images=(image, image))
    group = builder.group([one])
    (branch,) = group.branches
    page = Page(show([one], builder, ABOUT))
    expanded = []
    for part, kind, id, text in page.tokens:
        count = int(text.split(" ")[0]) if kind == "image" else 1
        expanded += [(part, kind == "learnt", int(id))] * count
    assert expanded == [("prefix", False, id) for id in group.prefix_ids] + [
        ("branch", label != -100, id) for id, label in zip(branch.input_ids, branch.labels, strict=True)
    ]
    assert [text for _, kind, _, text in page.tokens if kind == "image"] == ["4 × image"] * 2
    assert [text for _, kind, _, text in page.tokens if kind == "learnt"] == ["▁3", "</s>"]
    html = show([one], builder, ABOUT)
    assert f"prefix, {len(group.prefix_ids)} tokens" in html and "2 of them learnt" in html


def test_later_questions_are_not_learnt(builder):
    turns = (Turn("how many?", "3"), Turn("ships", "a pier"))
    page = Page(show([Record("1", "s", "conversation", "train", (), turns)], builder, ABOUT))
    assert [text for _, kind, _, text in page.tokens if kind == "learnt"] == ["▁3", "</s>", "▁a", "▁pier", "</s>"]


def test_boxes_are_drawn_where_they_say(builder, image):
    samples = [
        record(answer="<p>two ships</p> {<10><20><30><40>}<delim>{<0><0><5><5>}", images=(image,)),
        record(question="[identify] this {<50><60><70><80>}", answer="a ship", images=(image,)),
        record(
            answer="{<10><10><50><60>}",
            images=(image,),
            references={"polygons": [[0.1, 0.2, 0.3, 0.1, 0.5, 0.5, 0.2, 0.6]]},
            regions=(Region((0.7, 0.7, 0.9, 0.9), "not drawn beside what is asked"),),
        ),
        record(images=(image,), regions=(Region((0.1, 0.2, 0.3, 0.4), "car"), Region((0.0, 0.0, 1.0, 1.0), "harbour"))),
    ]
    html = show(samples, builder, ABOUT)
    drawn = [(polygon["class"], polygon["points"]) for polygon in Page(html).of("polygon")]
    assert drawn == [
        ("answer", "10.0,20.0 30.0,20.0 30.0,40.0 10.0,40.0"),
        ("answer", "0.0,0.0 5.0,0.0 5.0,5.0 0.0,5.0"),
        ("question", "50.0,60.0 70.0,60.0 70.0,80.0 50.0,80.0"),
        ("answer", "10.0,10.0 50.0,10.0 50.0,60.0 10.0,60.0"),
        ("oriented", "10.0,20.0 30.0,10.0 50.0,50.0 20.0,60.0"),
        ("known", "10.0,20.0 30.0,20.0 30.0,40.0 10.0,40.0"),
    ]
    assert re.findall(r'class="label"[^>]*>([^<]*)<', html) == ["two ships", "two ships", "car"]


def test_what_cannot_be_shown_is_said(builder, tmp_path):
    samples = [
        record(images=(str(tmp_path / "gone.png"),)),
        record(answer=" "),
        record(question="a <ImageHere>"),
        record(answer="\ud800"),
    ]
    html = show(samples, builder, ABOUT)
    assert "gone.png: the image is missing" in html and html.count("No sequence:") == 3
    assert "the answer of turn 1 is empty" in html


HOSTILE = '</p><script>alert(1)</script><img src=x onerror="alert(2)">&lt;{{ 7 * 7 }}\u202e\ud800"\''


def test_hostile_texts_are_text(builder, image):
    samples = [
        record(
            id=HOSTILE,
            question=f"[vqa] {HOSTILE.encode('utf-8', 'replace').decode()}",
            answer=f"<p>{HOSTILE}</p> {{<1><2><3><4>}}".encode("utf-8", "replace").decode(),
            where=HOSTILE,
            images=(image, HOSTILE.replace("\ud800", "")),
            regions=(Region((0.1, 0.1, 0.2, 0.2), HOSTILE),),
        )
    ]
    html = show(samples, builder, {"target": HOSTILE, "tokenizer": HOSTILE})
    page = Page(html)
    names = Counter(tag for tag, _ in page.tags)
    assert names["script"] == 0 and names["img"] == 1 and "49" not in html.split("</style>")[1].split("base64")[0]
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert all(attributes["src"].startswith("data:image/jpeg;base64,") for attributes in page.of("img"))
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


@given(st.text(), st.text())
def test_any_text_leaves_the_page_whole(builder, question, answer):
    plain = Page(show([record()], builder, ABOUT))
    page = Page(show([record(question=question, answer=answer, where=answer)], builder, ABOUT))
    kept = [tag for tag, _ in page.tags if tag not in ("i", "wbr")]
    same = [tag for tag, _ in plain.tags if tag not in ("i", "wbr")]
    assert kept == same or "No sequence" in show([record(question=question, answer=answer)], builder, ABOUT)


def test_the_choice_does_not_depend_on_the_order_and_tasks_take_turns():
    records = [record(str(n), "vqa") for n in range(50)] + [record(f"c{n}", "caption") for n in range(3)]
    chosen = choose(records, 10, seed=1)
    assert chosen == choose(records[::-1], 10, seed=1) and len(set(chosen_ids(chosen))) == 10
    assert Counter(r.task for r in chosen) == {"vqa": 7, "caption": 3}
    assert chosen_ids(choose(records, 10, seed=2)) != chosen_ids(chosen)
    assert chosen_ids(choose(records, 4, seed=1)) == chosen_ids(chosen)[:4]
    assert {r.task for r in choose(records, 9, 1, task="caption")} == {"caption"}
    assert len(choose(records, 99, 1)) == 53


def chosen_ids(records: list[Record]) -> list[str]:
    return [r.id for r in records]


@pytest.mark.parametrize(("task", "message"), [("vqqa", "did you mean 'vqa'?"), ("refer", "there are: vqa")])
def test_a_task_that_is_not_there(task, message):
    with pytest.raises(SkyEyeError, match=re.escape(message)):
        choose([record()], 3, 0, task)


def test_the_command_with_the_tokenizers_of_a_recipe_a_folder_and_none(tmp_path, recipe, world, capsys):
    out = tmp_path / "page.html"
    assert cli.main(["data", "show", str(recipe()), "--out", str(out), "--samples", "5"]) == 0
    assert "5 samples; tokenizer: learnt from the recipe's data" in capsys.readouterr().out
    assert "4 × image" in out.read_text()  # (28 / 7) ** 2 patches, four joined
    assert cli.main(["data", "show", str(world), "--format", "synthetic", "--out", str(out)]) == 0
    assert "a stand-in" in capsys.readouterr().out and "256 × image" in out.read_text()
    train_tokenizer(["how many"], 700).save_pretrained(tmp_path / "tokenizer")
    arguments = ["data", "show", str(world), "--format", "synthetic", "--out", str(out), "--tokenizer"]
    assert cli.main([*arguments, str(tmp_path / "tokenizer"), "--task", "vqa"]) == 0
    page = Page(out.read_text())
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    assert all(int(id) < len(tokenizer) for _, _, id, _ in page.tokens)
    assert cli.main([*arguments, str(tmp_path / "nowhere")]) == 2
    assert cli.main(["data", "show", str(world), "--format", "synthetic", "--out", str(out), "--samples", "0"]) == 2


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_overflow(tmp_path, builder, image, width):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium or google-chrome on this machine")
    long = "x" * 400
    samples = [
        record(answer=f"<p>{long}</p> {{<10><20><30><40>}}", images=(image,), where=long),
        record(id=HOSTILE, question=f"[vqa] {HOSTILE.encode('utf-8', 'replace').decode()} {long}", images=(image,) * 3),
    ]
    html = show(samples, builder, ABOUT)
    # the page forbids scripts; the probe is let in for this test alone, and says what it sees in the title
    probe = """<script>addEventListener("load", () => { document.title = JSON.stringify({
      wide: document.documentElement.scrollWidth, width: innerWidth,
      shown: [...document.images].map(i => i.naturalWidth > 0 && i.getBoundingClientRect().width > 50),
      boxes: [...document.querySelectorAll("polygon")].map(p => p.getBoundingClientRect().width > 0),
      beside: document.querySelector(".words").getBoundingClientRect().left > 300}) })</script>"""
    policy = "default-src 'none'; img-src data:"
    assert policy in html
    html = html.replace(policy, policy + "; script-src 'unsafe-inline'").replace("</body>", f"{probe}</body>")
    frame = tmp_path / "frame.html"  # a headless window is never narrower than 500 pixels, a frame is
    (tmp_path / "page.html").write_text(html, encoding="utf-8", errors="backslashreplace")
    frame.write_text(
        f'<body><iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe><script>'
        'addEventListener("load", () => setTimeout(() => { document.title = frames[0].document.title }, 300))</script>'
    )
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--allow-file-access-from-files", "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom"]
    result = subprocess.run([*command, Path(frame).as_uri()], capture_output=True, text=True, timeout=600)
    seen = json.loads(re.search(r"<title>(\{.*?\})</title>", result.stdout)[1].replace("&quot;", '"'))
    assert seen["width"] == width and seen["wide"] <= width
    assert seen["shown"] == [True] * 4 and seen["boxes"] == [True]
    assert seen["beside"] is (width > 760)
