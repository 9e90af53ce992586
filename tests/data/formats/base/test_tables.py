"""Rows of Parquet and Arrow files, with pictures inside or beside."""

import io

import pytest
from PIL import Image

from skyeye.data.formats.base.tables import iter_rows
from skyeye.data.images import tables
from skyeye.data.images.load import image_size, load_image
from skyeye.errors import SkyEyeError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def png(width):
    stream = io.BytesIO()
    Image.new("RGB", (width, 3), (width, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def inside(width):
    return {"bytes": png(width), "path": f"{width}.png"}


def beside(width):
    return {"bytes": None, "path": f"{width}.png"}


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def written(folder, rows, kind, form):
    columns = {"question": [f"q{n}" for n in range(len(rows))], "an image": rows}
    schema = pa.schema([("question", pa.string()), ("an image", kind)])
    table = pa.table(columns, schema)
    if form == "parquet":
        pq.write_table(table, folder / "a.parquet", row_group_size=2)
        return folder / "a.parquet"
    with pa.OSFile(str(folder / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return folder / "a.arrow"


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_pictures_inside_are_references_of_the_table(tmp_path, form):
    path = written(tmp_path, [inside(n) for n in range(1, 6)], IMAGE, form)
    rows = [row for _, row in iter_rows(path)]
    assert [row["question"] for row in rows] == [f"q{n}" for n in range(5)]
    assert rows[4]["an image"] == f"{path}#column=an%20image&row=4"
    assert [image_size(row["an image"]) for row in rows] == [(n, 3) for n in range(1, 6)]
    assert load_image(rows[0]["an image"]).getpixel((0, 0)) == (1, 0, 0)  # and back again
    with pytest.raises(SkyEyeError, match="has no such row"):
        load_image(f"{path}#column=an%20image&row=5")


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_pictures_beside_inside_and_absent(tmp_path, form):
    path = written(tmp_path, [beside(1), beside(2), inside(3), beside(4), None, inside(6)], IMAGE, form)
    named = [row["an image"] for _, row in iter_rows(path)]
    assert named == ["1.png", "2.png", f"{path}#column=an%20image&row=2", "4.png", None, named[5]]
    assert image_size(named[5]) == (6, 3)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_lists_of_pictures(tmp_path, form):
    rows = [[inside(1), inside(2)], [], [inside(3)], [beside(4), inside(5)]]
    path = written(tmp_path, rows, pa.list_(IMAGE), form)
    named = [row["an image"] for _, row in iter_rows(path)]
    assert [len(names) for names in named] == [2, 0, 1, 2] and named[3][0] == "4.png"
    assert [image_size(names[-1])[0] for names in (named[0], named[2], named[3])] == [2, 3, 5]


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_bytes_alone(tmp_path, form):
    path = written(tmp_path, [png(1), png(2), png(3)], pa.binary(), form)
    assert [image_size(row["an image"])[0] for _, row in iter_rows(path)] == [1, 2, 3]


def test_the_bytes_of_pictures_are_not_read_with_the_rows(tmp_path, monkeypatch):
    path = written(tmp_path, [inside(n) for n in range(1, 6)], IMAGE, "parquet")
    asked = []
    kind = type(tables.open_parquet(str(path)))
    plain = kind.iter_batches
    monkeypatch.setattr(kind, "iter_batches", lambda *a, **k: asked.append(k["columns"]) or plain(*a, **k))
    assert len(list(iter_rows(path))) == 5 and asked == [["question", "an image.path"]] * 3


def test_no_table(tmp_path):
    for name in ("a.parquet", "a.arrow"):
        (tmp_path / name).write_bytes(b"no table at all")
        with pytest.raises(SkyEyeError, match="is no table that can be read"):
            list(iter_rows(tmp_path / name))
