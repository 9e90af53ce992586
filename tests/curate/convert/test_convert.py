import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from skyeye.config.schema import SourceConfig
from skyeye.curate.convert import _whole_folder, convert, format_text
from skyeye.curate.convert.layouts import LAYOUTS
from skyeye.curate.convert.losses import losses
from skyeye.curate.convert.records import RecordWriter
from skyeye.curate.target import Target, open_target
from skyeye.data.formats import read_with_problems
from skyeye.data.formats.instructions.beside import COLUMN, beside, with_beside
from skyeye.data.formats.instructions.dialects import record_of
from skyeye.data.geometry.box_text import notation
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import MARK, Mention, Record, Region, Turn
from skyeye.data.tasks import TASKS
from skyeye.errors import SkyEyeError

WORDS = st.lists(st.sampled_from(["ship", "a", "Kai", "größer", "7", "what?", "船"]), min_size=1, max_size=4).map(
    " ".join
)


@st.composite
def boxes_of(draw, grid):
    """An upright box whose corners lie on a grid of so many steps; None: anywhere."""
    number = st.integers(0, grid).map(lambda n: n / grid) if grid else st.floats(0, 1)
    (x1, x2), (y1, y2) = sorted([draw(number), draw(number)]), sorted([draw(number), draw(number)])
    return Box(x1, y1, x2, y2)


@st.composite
def texts(draw, grid):
    """Words, with boxes and marked phrases between them."""
    text, mentions = draw(WORDS), []
    for _ in range(draw(st.integers(0, 2))):
        phrase = draw(st.none() | WORDS)
        boxes = tuple(draw(st.lists(boxes_of(grid), min_size=phrase is None, max_size=3)))
        mentions.append(Mention(boxes, phrase))
        text += f" {MARK} {draw(WORDS)}"
    return text, tuple(mentions)


@st.composite
def records(draw, grid=None):
    turns = []
    for number in range(draw(st.integers(1, 3))):
        (question, asked), (answer, said) = draw(texts(grid)), draw(texts(grid))
        system = draw(st.none() | WORDS) if number == 0 else None
        turns.append(Turn(question, answer, draw(st.sampled_from(list(TASKS))), asked + said, system))
    return Record(
        draw(WORDS),
        draw(WORDS),
        draw(st.sampled_from(list(TASKS))),
        "train",
        tuple(f"/data/{n}.jpg" for n in range(draw(st.integers(0, 3)))),
        tuple(turns),
        {"captions": draw(st.lists(WORDS, max_size=2)), "boxes": [list(draw(boxes_of(None)))]},
        draw(st.just(()) | st.just((Region((0.1, 0.2, 0.3, 0.4), "ship", (0.5,) * 8), Region((0, 0, 1, 1), "a")))),
    )


def there_and_back(record: Record, name: str, written: str | None) -> tuple[Record, dict]:
    layout = LAYOUTS[name]
    item = layout.item(record, record.images, written and notation(written), None)
    about = {"id": "", "source": "", "split": "train", "task": None}
    boxes = written if written == "bbox_2d" else "auto"
    plain = record_of(item, "", boxes, lambda name, _: name, **about)
    item = json.loads(json.dumps({**item, COLUMN: beside(record, plain)}))
    return record_of(item, "", boxes, lambda name, _: name, **about), item


@given(records())
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
def test_ms_swift_there_and_back_is_equal(record):
    assert there_and_back(record, "ms_swift", None)[0] == record


@pytest.mark.parametrize(
    ("name", "written", "grid"),
    [
        ("llava", "fractions", 100),
        ("llava", "hundredths", 10_000),
        ("llama_factory", "qwen", 1000),
        ("qwen_vl", "qwen", 1000),
        ("hf_folder", "qwen", 1000),
        ("hf_parquet", "qwen", 1000),
        ("qwen3_vl", "bbox_2d", 1000),
    ],
)
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
def test_boxes_on_the_grid_of_a_notation_come_back_equal(name, written, grid, data):
    record = data.draw(records(grid))
    back, _ = there_and_back(record, name, written)
    assert not list(losses(record, back))


@given(records())
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
def test_other_boxes_come_back_within_half_a_step_and_the_words_equal(record):
    back, _ = there_and_back(record, "llama_factory", "qwen")
    assert [(turn.question, turn.answer, turn.task, turn.system) for turn in back.turns] == [
        (turn.question, turn.answer, turn.task, turn.system) for turn in record.turns
    ]
    for turn, other in zip(record.turns, back.turns, strict=True):
        for mention, read in zip(turn.mentions, other.mentions, strict=True):
            for box, near in zip(mention.boxes, read.boxes, strict=True):
                assert all(abs(a - b) <= 0.0005 + 1e-9 for a, b in zip(box, near, strict=True))
    assert {kind for kind, _ in losses(record, back)} <= {"boxes rounded"}


def test_ms_swift_is_written_as_documented():
    turn = Turn(f"find {MARK}", f"at {MARK}", "refer", (Mention((), "the ship"), Mention((Box(0.1, 0.2, 0.3, 0.4),))))
    record = Record("a", "S", "refer", "train", ("/d/a.jpg",), (turn,))
    item = LAYOUTS["ms_swift"].item(record, ["a.jpg"], None, None)
    assert item == {
        "id": "a",
        "messages": [
            {"role": "user", "content": "<image>find <ref-object>"},
            {"role": "assistant", "content": "at <bbox>"},
        ],
        "images": ["a.jpg"],
        "objects": {"ref": ["the ship"], "bbox": [[0.1, 0.2, 0.3, 0.4]], "bbox_type": "norm1"},
    }


def test_texts_hold_the_boxes_of_their_notation():
    turn = Turn("where?", f"{MARK} here", "refer", (Mention((Box(0.1, 0.2, 0.3, 0.45), Box(0, 0, 1, 1)), "ships"),))
    record = Record("a", "S", "refer", "train", ("/d/a.jpg",), (turn,))
    item = LAYOUTS["qwen_vl"].item(record, ["a.jpg"], notation("qwen"), None)
    assert item["conversations"][0] == {"from": "human", "value": "<image>\nwhere?"}
    said = "<ref>ships</ref><box>(100,200),(300,450)</box><box>(0,0),(1000,1000)</box> here"
    assert item["conversations"][1] == {"from": "gpt", "value": said}
    item = LAYOUTS["llava"].item(record, ["a.jpg"], notation("fractions"), None)
    said = "<p>ships</p>[0.10, 0.20, 0.30, 0.45], [0.00, 0.00, 1.00, 1.00] here"
    assert item["conversations"][1]["value"] == said


def test_what_is_lost_is_told_by_kind():
    oriented = OrientedBox(0.2, 0.1, 0.4, 0.2, 0.3, 0.4, 0.1, 0.3)
    turn = Turn(f"{MARK} is?", "yes", "vqa", (Mention((oriented, Box(0.1234, 0, 0.5, 0.5))),))
    record = Record("a", "S", "vqa", "train", ("/d/a.jpg",), (turn,))
    back, _ = there_and_back(record, "ms_swift", None)
    assert list(losses(record, back)) == [("oriented boxes written upright", "1 boxes")]
    back, _ = there_and_back(record, "llava", "fractions")  # it writes all four corners
    assert list(losses(record, back)) == [("boxes rounded", "1 boxes, by 0.0034 of the image at most")]
    beside_each_other = replace(turn, mentions=(Mention((Box(0, 0, 1, 1),)), Mention((Box(0, 0, 1, 1),))))
    joined = replace(record, turns=(replace(beside_each_other, question=f"{MARK}{MARK} is?"),))
    back, _ = there_and_back(joined, "ms_swift", None)
    assert [kind for kind, _ in losses(joined, back)] == ["boxes grouped otherwise"]
    words = replace(record, turns=(Turn("is [0.1, 0.2, 0.3, 0.4] odd?", "no", "vqa"),))
    back, _ = there_and_back(words, "llava", "fractions")
    assert [kind for kind, _ in losses(words, back)] == ["words read as a box"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Own data of every sort, in two splits, with its images in a folder of another name."""
    root = tmp_path_factory.mktemp("own")
    (root / "pictures" / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        Image.new("RGB", (40, 20), "navy").save(root / "pictures" / name)
    box = {"unit": "pixels"}
    lines = [
        {"image": "a.png", "question": "how many?", "answer": "2", "id": "q"},
        {
            "image": "deep/b.png",
            "question": "what is at <box>?",
            "answer": "a ship",
            "mentions": [[10, 5, 20, 15]],
            **box,
        },
        {"image": "a.png", "boxes": [{"box": [10, 5, 33, 15], "label": "ship"}], "split": "test", **box},
        {
            "image": ["a.png", "deep/b.png"],
            "conversation": [{"question": "new?", "answer": "one"}] * 2,
            "system": "Be.",
        },
        {"image": "a.png", "captions": ["a harbour", "two ships"]},
        {"image": "a.png", "question": "which class?", "answer": None},
    ]
    (root / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def key(record: Record) -> str:
    return f"{record.source} {record.id}"


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("name", ["llava", "ms_swift", "llama_factory", "qwen_vl", "hf_folder"])
def test_a_folder_there_and_back(name, copy, own, tmp_path):
    target = open_target(own / "own.jsonl", format="jsonl", images=own / "pictures")
    told = convert(target, tmp_path / "out", name, boxes=None if name == "ms_swift" else "hundredths", copy_images=copy)
    assert not told.lost and told.skipped == {"no answer": 1}
    assert "nothing is lost" in format_text(told, tmp_path / "out", name)
    wanted, _ = read_with_problems(SourceConfig("jsonl", str(own / "own.jsonl"), str(own / "pictures")), "own")
    images = own / "pictures" if told.images != "." else None
    found = open_target(tmp_path / "out", images=images)
    assert not found.unknown
    back = []
    for of, source in found.sources.items():
        records, problems = read_with_problems(source, of)
        back += records
        assert not problems
    assert len(back) == len(wanted) == 8 and sum(told.files.values()) == 8
    for record, other in zip(sorted(wanted, key=key), sorted(back, key=key), strict=True):
        assert not list(losses(record, other))
        assert [Path(image).name for image in record.images] == [Path(image).name for image in other.images]
        for image, of in zip(record.images, other.images, strict=True):
            assert Path(image).read_bytes() == Path(of).read_bytes()


def test_nothing_is_overwritten_and_half_a_folder_is_not_left(own, tmp_path):
    target = open_target(own / "own.jsonl", format="jsonl", images=own / "pictures")
    with pytest.raises(SkyEyeError, match="exists already"):
        convert(target, own, "llava")
    with pytest.raises(SkyEyeError, match="unknown format 'lava'.*did you mean 'llava'"):
        convert(target, tmp_path / "out", "lava")
    with pytest.raises(SkyEyeError, match="as numbers"):
        convert(target, tmp_path / "out", "ms_swift", boxes="qwen")
    with pytest.raises(RuntimeError), _whole_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_images_without_a_file_are_copied_or_counted(tmp_path):
    (tmp_path / "set").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    shard = (b"x" * 512) + (tmp_path / "a.png").read_bytes()
    (tmp_path / "set" / "s.tar").write_bytes(shard)
    image = f"{tmp_path}/set/s.tar#offset=512&size={len(shard) - 512}"
    record = Record("a", "S", "vqa", "train", (image,), (Turn("what?", "red", "vqa"),))
    target = Target(tmp_path, {"s": SourceConfig("shards", str(tmp_path / "set"))})
    for copy in (False, True):
        (tmp_path / f"out{copy}").mkdir()
        with RecordWriter(LAYOUTS["llava"], tmp_path / f"out{copy}", target, None, copy) as writer:
            writer.add(record)
        assert writer.told.files == ({"train.json": 1} if copy else {})
        assert writer.told.lost == ({} if copy else {"not written: image without a file": 1})
    written = json.loads((tmp_path / "outTrue" / "train.json").read_text())[0]["image"]
    assert (tmp_path / "outTrue" / written).read_bytes() == (tmp_path / "a.png").read_bytes() and written.endswith(
        ".png"
    )
    assert "add --copy-images" in (tmp_path / "outFalse" / "lost.log").read_text()


def test_a_column_that_is_not_ours_is_reported():
    record = Record("a", "S", "vqa", "train", (), (Turn("q", "a"),))
    for column in (
        "{",
        "[]",
        3,
        '{"task": "no"}',
        '{"tasks": ["vqa", 3]}',
        '{"regions": [{}]}',
        '{"regions": [{"box": "abcd", "phrase": "a"}]}',
    ):
        with pytest.raises(SkyEyeError, match="data convert"):
            with_beside(record, column, "here")
