import json

import pytest

from skyeye import cli
from skyeye.curate.target import open_target
from skyeye.errors import SkyEyeError


def vhm(question: str, answer: str) -> dict:
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"image": "a.png", "conversations": turns}


@pytest.fixture
def boxes(tmp_path, write_images):
    """A file whose boxes could be thousandths or pixels."""
    write_images(tmp_path / "images", "a.png")
    items = [vhm("{VG} where is the ship?", "[100, 200, 300, 400]"), vhm("{VQA} is it rural?", "yes")]
    (tmp_path / "vg.json").write_text(json.dumps(items))
    return tmp_path / "vg.json"


def test_options_go_to_the_readers_that_know_them(tmp_path, boxes):
    (tmp_path / "my.jsonl").write_text('{"image": "a", "question": "q", "answer": "a"}\n')
    target = open_target(tmp_path, options={"unit": "pixels", "stretch": "2,98"})
    options = {source.format: source.options for source in target.sources.values()}
    assert options == {"llava": {"stretch": "2,98"}, "jsonl": {"unit": "pixels", "stretch": "2,98"}}
    with pytest.raises(SkyEyeError, match="--option: unknown option 'boxs' .did you mean 'boxes'"):
        open_target(tmp_path, options={"boxs": 1})


def test_the_remedy_of_unclear_boxes_can_be_followed(boxes, capsys):
    command = ["data", "check", str(boxes)]
    assert cli.main(command) == 1
    told = json.dumps(open_report(command, boxes))
    assert "--option boxes=NAME" in told
    assert cli.main([*command, "--option", "boxes=thousandths"]) == 0
    capsys.readouterr()


def open_report(command: list[str], boxes) -> dict:
    file = boxes.parent / "report.json"
    cli.main([*command, "--json", str(file)])
    return json.loads(file.read_text())


@pytest.mark.parametrize(
    "command",
    [
        ["stats", "{}"],
        ["show", "{}", "--out", "{}.html"],
        ["split", "{}", "--out", "{}.split", "--fractions", "1", "0", "0"],
        ["pack", "{}", "--out", "{}.shards", "--workers", "1"],
    ],
)
def test_every_command_that_reads_data_takes_options(boxes, command, capsys):
    words = ["data", *(word.format(boxes) for word in command), "--option", "boxes=thousandths"]
    assert cli.main(words) == 0
    assert cli.main([*words, "--option", "boxes"]) == 2
    assert "--option: 'boxes' is not NAME=VALUE" in capsys.readouterr().err


def test_options_beside_a_recipe(tmp_path):
    (tmp_path / "r.yaml").write_text("sources: {}\n")
    with pytest.raises(SkyEyeError, match="leave out --format, --images and --option"):
        open_target(tmp_path / "r.yaml", options={"boxes": "pixels"})
