"""Parquet there and back, with images inside and beside; boxes as Qwen's JSON."""

import json

import pytest
from PIL import Image

from skyeye.config.schema import SourceConfig
from skyeye.curate.convert import convert, parquet
from skyeye.curate.detect.sniff import sniff_format
from skyeye.curate.target import open_target
from skyeye.data.formats import read_with_problems
from skyeye.data.images.load import load_image
from skyeye.errors import SkyEyeError

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def rows(tmp_path):
    """Five records on two pictures of 280 x 140, as LLaVA writes them."""
    for n, name in enumerate(("a.png", "b.png")):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (280, 140), (10 * n, 0, 0)).save(tmp_path / "images" / name)
    said = [
        ("where is it?", "<p>the ship</p> {<10><20><30><40>}"),
        ("and these?", "<p>planes</p> {<10><20><30><40>}<delim>{<50><60><70><80>} here"),
        ("how many?", "2"),
        ("what is {<1><2><3><4>}?", "a größer Kai"),
        ("describe", "a harbor"),
    ]
    items = [
        {"image": f"{'ab'[n % 2]}.png", "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]}
        for n, (q, a) in enumerate(said)
    ]
    (tmp_path / "train.json").write_text(json.dumps(items))
    return tmp_path / "train.json"


def turned(rows, out, format, inside=False):
    target = open_target(rows, images=rows.parent / "images")
    told = convert(target, out, format, copy_images=inside)
    return target, told


def read(path, images=None, **options):
    records, problems = read_with_problems(SourceConfig("llava", str(path), images and str(images), None, options), "x")
    assert not problems
    return records


@pytest.mark.parametrize("inside", [True, False])
def test_records_come_back_equal(rows, tmp_path, monkeypatch, inside):
    monkeypatch.setattr(parquet, "ROWS", 2)
    _, told = turned(rows, tmp_path / "out", "hf_parquet", inside)
    assert told.files == {"train.parquet": 5} and not told.lost and not (tmp_path / "out/lost.log").exists()
    table = pq.ParquetFile(tmp_path / "out/train.parquet")
    assert [table.metadata.row_group(n).num_rows for n in range(3)] == [2, 2, 1]
    before = read(rows, rows.parent / "images")
    after = read(tmp_path / "out/train.parquet", rows.parent / "images")
    assert [(r.id, r.task, r.turns, r.references, r.regions) for r in after] == [
        (r.id, r.task, r.turns, r.references, r.regions) for r in before
    ]
    assert all(("#column=images&row=" in r.images[0]) == inside for r in after)
    assert [load_image(r.images[0]).tobytes() for r in after] == [load_image(r.images[0]).tobytes() for r in before]
    assert sniff_format(tmp_path / "out/train.parquet") == "llava"


def test_what_datasets_is_told_of_the_columns(rows, tmp_path):
    turned(rows, tmp_path / "out", "hf_parquet", inside=True)
    table = pq.read_table(tmp_path / "out/train.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["images"] == [{"_type": "Image"}] and set(features) == set(table.column_names)
    first = table.to_pylist()[0]
    assert first["images"][0]["path"] == "a.png" and first["images"][0]["bytes"].startswith(b"\x89PNG")
    said = "<ref>the ship</ref><box>(100,200),(300,400)</box>"
    assert first["messages"] == [
        {"role": "user", "content": "<image>where is it?"},
        {"role": "assistant", "content": said},
    ]


def test_a_table_may_be_converted_again(rows, tmp_path):
    turned(rows, tmp_path / "one", "hf_parquet", inside=True)
    target = open_target(tmp_path / "one")
    assert convert(target, tmp_path / "two", "hf_parquet", copy_images=True).files == {"train.parquet": 5}
    with pytest.raises(SkyEyeError, match="its image is inside a shard or a table: add --copy-images"):
        convert(target, tmp_path / "three", "llava")
    assert convert(target, tmp_path / "four", "llava", copy_images=True).files == {"train.json": 5}
    assert len(read(tmp_path / "four/train.json")) == 5


def test_a_table_of_captions_and_one_of_questions(tmp_path):
    import pyarrow as pa

    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    held = {"bytes": (tmp_path / "a.png").read_bytes(), "path": "a.png"}
    pq.write_table(pa.table({"image": [held], "text": ["a harbor"]}), tmp_path / "train.parquet")
    (record,) = read(tmp_path / "train.parquet")
    assert record.task == "caption" and record.references == {"captions": ["a harbor"]}
    table = pa.table({"image": [held], "question": ["how many?"], "answer": ["2"]})
    pq.write_table(table, tmp_path / "test.parquet")
    (record,) = read(tmp_path / "test.parquet")
    assert (record.split, record.turns[0].question, record.turns[0].answer) == ("test", "how many?", "2")


def test_without_pyarrow_it_is_said_first(rows, tmp_path, monkeypatch):
    import builtins

    plain = builtins.__import__

    def without(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return plain(name, *rest)

    target = open_target(rows, images=rows.parent / "images")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SkyEyeError, match="writing tables needs pyarrow.*skyeye\\[parquet\\]"):
        convert(target, tmp_path / "out", "hf_parquet")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("format", "boxes", "first"),
    [("qwen3_vl", "bbox_2d", [100, 200, 300, 400]), ("qwen2_5_vl", "qwen25", [28, 28, 84, 56])],
)
def test_boxes_in_the_json_of_qwen(rows, tmp_path, format, boxes, first):
    """280 x 140 are multiples of 28: Qwen2.5-VL reads the picture as it is."""
    _, told = turned(rows, tmp_path / "out", format)
    items = json.loads((tmp_path / "out/train.json").read_text())
    assert items[0]["conversations"][1]["value"] == json.dumps([{"bbox_2d": first, "label": "the ship"}])
    assert items[1]["conversations"][1]["value"].count('"label": "planes"') == 2
    assert set(told.lost) <= {"boxes rounded"}
    after = read(tmp_path / "out/train.json", rows.parent / "images", boxes=boxes)
    assert [[m.phrase for turn in r.turns for m in turn.mentions] for r in after] == [
        ["the ship"],
        ["planes"],
        [],
        [None],
        [],
    ]


def test_lists_of_several_labels_are_a_mention_each():
    from skyeye.data.formats.base.written_boxes import read_mentions, write_mentions
    from skyeye.data.geometry.box_text import notation

    text = '[{"bbox_2d": [1, 2, 3, 4], "label": "a \\"b\\""}, {"bbox_2d": [5, 6, 7, 8], "label": "a \\"b\\""}, '
    text += '{"bbox_2d": [9, 9, 10, 10], "label": "c"}]'
    bare, mentions = read_mentions(text, notation("bbox_2d"))
    assert [(m.phrase, len(m.boxes)) for m in mentions] == [('a "b"', 2), ("c", 1)]
    written = write_mentions(bare, mentions, notation("bbox_2d"))
    assert read_mentions(written, notation("bbox_2d")) == (bare, mentions)
