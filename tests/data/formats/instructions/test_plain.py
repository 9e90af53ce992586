"""What the quick way takes, it reads as the whole parser does; whatever is done to the records."""

import json
import random

import pytest

from skyeye.config.schema import SourceConfig
from skyeye.data.formats import iter_source, read_with_problems
from skyeye.data.formats.instructions import dialects, skyeye968k
from skyeye.errors import SkyEyeError

QUESTIONS = (
    *("<image>\n[vqa] how many ships?", "[caption] describe the image", "[VQA]how many", "is it day?\n<image>"),
    *("<image>\ndescribe this picture in detail", "[vqa] Classify the image into one class. Classes: a, b. Answer:"),
    *("[refer] where is it?", "[vqa]", "<image>\n[vqa]\n two\nlines ", "[grounding] all of it", "[A] yes [B] no"),
    *(
        "\ufeff[vqa] which one?",
        "[vqa] \ufeffwhich?",
        "[vqa] \u00fcber\u2003",
        "{VQA} why",
        "[vqa] \ufffc?",
        "\u3010 [vqa]",
    ),
    *("[vqa] cla\u017fify the image. cla\u017f\u017fes: a. b", "<IMAGE>\nwhat", "[vqa] <p>a</p>", "", "[ vqa ] a"),
)
ANSWERS = (
    *("2", " two ", "{<1><2><3><4>}", "\ufffc", "a\ud800", "", "yes\nand no", "[0.1, 0.2, 0.3, 0.4]", "<s>", 3, None),
)
MORE = (
    {},
    {},
    {},
    {"system": "be brief"},
    {"ground_truth": ["2", "two"]},
    {"id": 4},
    {"messages": []},
    {"images": "b"},
)
NAMES = ("a.png", "a.png", "a", " a.png ", "sub/d.png", "b.png", "../a.png", "", ["a.png"], ["a.png", "c.png"], 7, None)


def some_item(rng):
    def some(of):
        return rng.choice(of) if rng.random() < 0.4 else of[0]

    said = {"from": some(("gpt", "human", "assistant")), "value": some(ANSWERS)}
    talk = [{"from": "human", "value": rng.choice(QUESTIONS)}, said]
    return {"image": some(NAMES), **some(MORE), "conversations": talk * some((1, 2))}


@pytest.fixture(scope="module")
def lists(tmp_path_factory, damage):
    """Lists of records, some of them damaged, and the pictures they are about."""
    folder, rng = tmp_path_factory.mktemp("plain"), random.Random(3)
    for name in ("a.png", "c.png", "sub/d.png"):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).touch()
    for number in range(60):
        content = json.dumps([some_item(rng) for _ in range(40)]).encode()
        (folder / f"{number:02}_train.json").write_bytes(damage(content, rng) if number % 3 else content)
    return folder


def outcome(source):
    """What reading yields, up to the mistake that ends it."""
    found = []
    try:
        found.extend(iter_source(source, "mine"))
    except SkyEyeError as error:
        found.append(str(error))
    return found


@pytest.mark.parametrize(("reader", "options"), [
    (dialects, {}),
    (dialects, {"boxes": "pixels", "task": "vqa"}),
    (skyeye968k, {"task": "video_caption", "strict_tags": True}),
    (skyeye968k, {}),
])  # fmt: skip
def test_it_reads_as_the_whole_parser_does(lists, monkeypatch, reader, options):
    kind = "llava" if reader is dialects else "skyeye968k"
    files = sorted(lists.glob("*.json"))
    sources = [SourceConfig(kind, str(file), str(lists / "images"), options=options) for file in files]
    taken = []
    quick = reader.plain_record
    monkeypatch.setattr(reader, "plain_record", lambda *about: taken.append(quick(*about)) or taken[-1])
    with_it = [outcome(source) for source in sources]
    monkeypatch.setattr(reader, "plain_record", lambda *about: None)
    assert with_it == [outcome(source) for source in sources]
    assert 100 < sum(record is not None for record in taken) < len(taken) - 100


def test_an_ordinary_record_is_taken_without_the_whole_parser(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    talk = [{"from": "human", "value": "<image>\n[vqa] how many?"}, {"from": "gpt", "value": "2"}]
    (tmp_path / "x.json").write_text(json.dumps([{"image": "a.png", "conversations": talk}] * 3))
    monkeypatch.setattr(dialects, "parse_llava", None)
    records, _ = read_with_problems(SourceConfig("llava", str(tmp_path / "x.json")), "x")
    turn = records[0].turns[0]
    assert [record.id for record in records] == ["x:0", "x:1", "x:2"] and records[1].source == "x"
    assert (turn.question, turn.answer, turn.task) == ("how many?", "2", "vqa")
    assert records[0].references == {"answer": "2"} and records[0].images == (str(tmp_path / "a.png"),)
