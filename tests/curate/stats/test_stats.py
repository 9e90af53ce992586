import json
import shutil

import numpy as np
import pytest
from PIL import Image

from skyeye import cli
from skyeye.cli.tokens import _roughly, open_counter
from skyeye.config.schema import PromptConfig
from skyeye.curate.stats import format_text, measure, write_page
from skyeye.curate.stats.count import Lengths
from skyeye.curate.target import open_target
from skyeye.data.prompts import MiniGPTv2
from skyeye.data.record import Record, Turn
from skyeye.data.sequence import SequenceBuilder
from skyeye.models.tokenizer import train_tokenizer


@pytest.fixture
def target(tmp_path):
    """Two pictures with five questions, one of them a conversation, and a text without a picture."""
    (tmp_path / "images").mkdir()
    for name, size in (("a", (30, 20)), ("b", (40, 20))):
        Image.fromarray(np.zeros((size[1], size[0], 3), dtype=np.uint8)).save(tmp_path / f"images/{name}.png")

    def row(image: str | None, *said: str) -> dict:
        turns = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(said)]
        return {"conversations": turns} | ({"image": image} if image else {})

    rows = [
        row("a", "[vqa] how many?", "Two"),
        row("a", "[vqa] how many cars?", "two"),
        row("a", "[refer] where is it", "{<0><0><10><40>}"),
        row("a", "[detection] them", "<p>them</p> {<0><0><10><40>}<delim>{<50><50><60><60>}"),
        row("b", "what?", "a pier", "more?", "no"),
        row(None, "hello", "hello to you"),
    ]
    (tmp_path / "set.json").write_text(json.dumps(rows))
    return open_target(tmp_path / "set.json", format="llava", images=tmp_path / "images")


def words(record: Record) -> Lengths:
    """Ten tokens a picture and one a word: numbers that can be counted by hand."""
    style = MiniGPTv2()
    learnt = sum(len(style.answer(turn).split()) for turn in record.turns)
    asked = sum(len(style.question(turn).split()) for turn in record.turns)
    return Lengths(1 + 10 * len(record.images), asked + learnt, learnt)


def test_the_counts(target):
    stats = measure(target, words, "words")
    assert (stats["records"], stats["images"]) == (6, 2)
    assert stats["tasks"] == {"vqa": 2, "conversation": 2, "refer": 1, "detection": 1}
    assert stats["sources"] == {"set": stats["tasks"]} and stats["splits"] == {"train": 6}
    assert stats["turns"] == {"least": 1, "median": 1, "mean": 1.17, "p95": 2, "most": 2, "counts": {"1": 5, "2": 1}}
    assert stats["samples_per_image"]["counts"] == {"1": 1, "4": 1}
    assert stats["tokens"]["vqa"]["question"]["counts"] == {"3": 1, "4": 1}
    assert stats["tokens"]["conversation"]["learnt"]["counts"] == {"3": 2}
    # questions_per_image: 4 + 5 + 5 + 4 + 5 + 4; rows have their prefix each, groups once: a, b and the text alone
    assert stats["tokens_total"] == {
        "separate_rows": 27 + 5 * 11 + 1,
        "shared_prefix": 27 + 2 * 11 + 1,
        "records_without_sequence": 0,
    }
    assert stats["boxes"]["longer side"]["counts"] == {"10": 1, "40": 2}
    assert stats["boxes"]["shorter side"]["counts"] == {"10": 3}
    assert stats["boxes"]["a record"]["counts"] == {"1": 1, "2": 1}
    assert stats["answers"] == {"vqa": {"distinct": 1, "top": {"two": 2}}}
    assert stats["image_sizes"] == {"unreadable": 0, "sizes": {"30 x 20": 1, "40 x 20": 1}}


def test_records_without_a_sequence_and_unreadable_images_are_counted(target, tmp_path):
    (tmp_path / "images/b.png").write_text("no picture")
    stats = measure(target, lambda record: None if record.task == "vqa" else words(record), "words")
    assert stats["tokens_total"]["records_without_sequence"] == 2 and "vqa" not in stats["tokens"]
    assert stats["image_sizes"] == {"unreadable": 1, "sizes": {"30 x 20": 1}}
    told = format_text(stats)
    assert "2 records give no sequence" in told and "unreadable: 1" in told


def test_the_median_and_the_95th_percentile(target, monkeypatch):
    lengths = iter(
        [Lengths(1, 0, 0), Lengths(1, 2, 0), Lengths(1, 9, 0), Lengths(1, 9, 0), Lengths(1, 5, 0), Lengths(1, 7, 0)]
    )
    monkeypatch.setattr("skyeye.curate.stats.count.records_of", lambda _: (vqa(n) for n in range(6)))
    found = measure(target, lambda record: next(lengths), "x")["tokens"]["vqa"]["question"]
    assert (found["least"], found["median"], found["mean"], found["p95"], found["most"]) == (0, 5, 5.33, 9, 9)


def vqa(number: int) -> Record:
    return Record(str(number), "s", "vqa", "train", (), (Turn("q", "a"),))


def test_many_different_answers_are_free_text(target, monkeypatch):
    monkeypatch.setattr("skyeye.curate.stats.count.MOST_ANSWERS", 0)
    stats = measure(target, words, "words")
    assert stats["answers"] == {"vqa": None} and "answers of vqa: free text" in format_text(stats)


def test_tokens_are_those_of_the_sequence_builder(target, tmp_path):
    tokenizer = train_tokenizer(["how many cars", "two"], 700)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    count, said = open_counter(target, tmp_path / "tokenizer")
    builder = SequenceBuilder(tokenizer, PromptConfig(), 256)
    record = Record("1", "s", "vqa", "train", ("x.png",), (Turn("[vqa] how many cars?", "two"),))
    group = builder.group([record])
    assert count(record) == (len(group.prefix_ids), len(group.branches[0].input_ids), 2)
    assert said == str(tmp_path / "tokenizer")
    for answer in (" ", "\ud800"):
        assert count(Record("1", "s", "vqa", "train", (), (Turn("q", answer),))) is None


def test_without_a_tokenizer_the_rule_is_said(target):
    count, said = open_counter(target, None)
    assert "six letters a token" in said and "no tokenizer was given" in said
    one = Record("1", "s", "vqa", "train", ("x",), (Turn("how many airplanes?", "12"),))
    # how, many, airpla nes, ? and nine around them; 1, 2 and the end; an image and six signs around it
    assert count(one) == Lengths(1 + 262, 5 + 9 + 3, 3) == _roughly(256, one)
    assert count(Record("1", "s", "vqa", "train", (), (Turn("q", " "),))) is None


def test_the_page_is_whole_and_safe(target, tmp_path):
    hostile = '<script>alert(1)</script>"'
    stats = measure(target, words, hostile)
    stats["answers"]["vqa"]["top"] = {hostile: 3, "a\x00\n": 1, "$x^{$": 1}
    stats["sources"] = {hostile: stats["tasks"]}
    written = write_page(stats, tmp_path / "out")
    assert {file.name for file in written} == {file.name for file in (tmp_path / "out").iterdir()}
    assert {"tasks.png", "tokens_learnt.png", "boxes.png", "image_sizes.png", "answers_vqa.png"} <= {
        f.name for f in written
    }
    for file in written:
        if file.suffix == ".png":
            with Image.open(file) as picture:
                assert np.asarray(picture.convert("L")).std() > 5  # something is drawn
    html = (tmp_path / "out/stats.html").read_text()
    assert "<script" not in html and html.count("data:image/png;base64,") == len(written) - 2
    assert json.loads((tmp_path / "out/stats.json").read_text()) == stats


def test_the_command(target, tmp_path, recipe, capsys):
    arguments = ["data", "stats", str(target.path), "--format", "llava", "--images", str(tmp_path / "images")]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "6 records, 2 images" in capsys.readouterr().out and (tmp_path / "out/stats.html").is_file()
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 6
    assert cli.main(["data", "stats", str(recipe())]) == 0
    assert "learnt from the recipe's data" in capsys.readouterr().out
    assert cli.main([*arguments, "--tokenizer", str(tmp_path / "nowhere")]) == 2
    shutil.rmtree(tmp_path / "images")
    assert cli.main(arguments) == 2
