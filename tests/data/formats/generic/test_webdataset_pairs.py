"""WebDataset archives of image-caption pairs. Written in the layout of the releases; none was at hand."""

import io
import json
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.formats.generic.webdataset_pairs import read as read_pairs
from skyeye.data.formats.generic.webdataset_pairs import tar_members
from skyeye.data.images.load import load_image
from skyeye.errors import SkyEyeError


def picture(shade: int, form: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 3), (shade, shade, shade)).save(data, form)
    return data.getvalue()


def write(path, members, format=tarfile.USTAR_FORMAT):
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def pair(key, shade=0, caption="a harbour"):
    return [(f"{key}.png", picture(shade)), (f"{key}.txt", caption.encode())]


FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


@pytest.mark.parametrize("format", FORMATS)
def test_pairs_of_every_kind_of_archive(tmp_path, read, format):
    long = "folder/" + "k" * 150 + "ü"
    if format == tarfile.USTAR_FORMAT:
        long = "f" * 120 + "/" + "k" * 90
    members = [*pair("000001", 10), *pair("000002", 20, "Ships."), *pair(long, 30, "sea")]
    write(tmp_path / "a.tar", members, format)
    records, skipped = read("webdataset_pairs", tmp_path / "a.tar")
    assert not skipped
    assert [r.turns[0].answer for r in records] == ["a harbour", "ships", "sea"]
    assert [np.asarray(load_image(r.images[0]))[0, 0, 0] for r in records] == [10, 20, 30]
    assert records[0].id == "a/000001:0" and records[2].id == f"a/{long}:0"
    assert records[0].turns[0].question.startswith("[caption]") and records[0].source == "mine"


def test_the_suffixes_of_the_releases(tmp_path, read):
    members = [
        ("1.img_name", b"x.jpg"), ("1.img_content", picture(1, "JPEG")), ("1.caption", b"from RS5M"),
        ("2.JPG", picture(2, "JPEG")), ("2.json", json.dumps({"caption": "from json", "url": "u"}).encode()),
        ("3.json", json.dumps({"captions": ["one", "two"]}).encode()), ("3.webp", picture(3, "WEBP")),
        ("4.jpg", picture(4, "JPEG")), ("4.txt", b"text wins"), ("4.json", b"{}"), ("4.cls", b"7"),
        ("5.jpg", picture(5, "JPEG")), ("5.json", b'["a", "b"]'),
        ("5b.jpg", picture(5, "JPEG")), ("5b.json", b'"a string"'),
    ]  # fmt: skip
    write(tmp_path / "a.tar", members)
    records, skipped = read("webdataset_pairs", tmp_path / "a.tar")
    assert not skipped
    answers = [r.turns[0].answer for r in records]
    assert answers == ["from rs5m", "from json", "one", "two", "text wins", "a", "b", "a string"]
    assert records[2].references == {"captions": ["one", "two"]}


def test_a_folder_of_archives_and_their_split(tmp_path, read):
    (tmp_path / "val").mkdir()
    write(tmp_path / "val/pub11-val-0000.tar", pair("1"))
    write(tmp_path / "pub11-train-0000.tar", pair("1"))
    records, _ = read("webdataset_pairs", tmp_path)
    assert sorted((r.split, r.id) for r in records) == [("train", "pub11-train-0000/1:0"), ("val", "pub11-val-0000/1")]
    assert [r.split for r in read("webdataset_pairs", tmp_path, split="val")[0]] == ["val"]


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ([("2.txt", b"x")], "no image"),
        ([("2.jpg", b"x"), ("2.png", b"x"), ("2.txt", b"x")], "no image"),
        ([("2.jpg", b""), ("2.txt", b"x")], "unreadable image"),
        ([("2.jpg", b"x")], "no answer"),
        ([("2.jpg", b"x"), ("2.txt", b" ")], "no answer"),
        ([("2.jpg", b"x"), ("2.txt", b"\xff")], "not text"),
        ([("2.jpg", b"x"), ("2.json", b"{")], "not JSON"),
        ([("2.jpg", b"x"), ("2.json", b"[" * 99_999)], "not JSON"),
        ([("2.jpg", b"x"), ("2.json", b'{"label": "x"}')], "no answer"),
        ([("2.jpg", b"x"), ("2.json", b'{"captions": [3, null]}')], "no answer"),
        ([("2.jpg", b"x"), ("2.txt", b"x" * 2_000_000)], "line too long"),
        ([*pair("2"), ("1.jpg", b"x"), ("1.txt", b"x")], "duplicate id"),
    ],
)
def test_a_broken_sample_costs_itself(tmp_path, read, members, kind):
    write(tmp_path / "a.tar", [*pair("1"), *members, *pair("3")])
    records, skipped = read("webdataset_pairs", tmp_path / "a.tar")
    assert (len([r for r in records if r.id in ("a/1:0", "a/3:0")]), set(skipped)) == (2, {kind})


def test_links_and_folders_are_no_members(tmp_path, read):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("1", tarfile.DIRTYPE), ("1.jpg", tarfile.SYMTYPE), ("2.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name, content in [("1.txt", b"x"), *pair("3")]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    records, skipped = read("webdataset_pairs", tmp_path / "a.tar")
    assert ([r.id for r in records], skipped) == (["a/3:0"], {"no image": 1})


def test_a_damaged_archive_keeps_what_stands_before(tmp_path, read):
    whole = write(tmp_path / "a.tar", [*pair("1"), *pair("2"), *pair("3")]).read_bytes()
    members = list(tar_members(io.BytesIO(whole), "a"))
    # cut off in the second picture; a header overwritten; a size that reaches out of the file
    place = members[2].offset - 512
    for damaged in (
        whole[: members[2].offset + 5],
        whole[:place] + b"\x07" * 512 + whole[place + 512 :],
    ):
        (tmp_path / "a.tar").write_bytes(damaged)
        records, skipped = read("webdataset_pairs", tmp_path / "a.tar")
        assert ([r.id for r in records], skipped) == (["a/1:0"], {"damaged archive": 1})
    (tmp_path / "b.tar").write_bytes(b"no archive")
    write(tmp_path / "a.tar", pair("1"))
    records, skipped = read("webdataset_pairs", tmp_path)
    assert (len(records), skipped) == (1, {"damaged archive": 1})


def header(name=b"x", size=b"00000000012\0", kind=b"0") -> bytes:
    raw = bytearray(512)
    raw[:100] = name.ljust(100, b"\0")
    raw[124:136], raw[156:157], raw[257:263] = size, kind, b"ustar\0"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def test_sizes_that_are_binary_negative_or_announced():
    body, end = b"0123456789".ljust(512, b"\0"), bytes(512)
    binary = header(size=b"\x80" + (10).to_bytes(11, "big"))
    assert [tuple(m) for m in tar_members(io.BytesIO(binary + body + end), "a")] == [("x", 512, 10)]
    announced = b"11 size=10\n"
    pax = header(size=b"%011o\0" % len(announced), kind=b"x") + announced.ljust(512, b"\0")
    late = pax + header(size=b"00000000000\0") + body
    assert [tuple(m) for m in tar_members(io.BytesIO(late + header() + body + end), "a")] == [
        ("x", 1536, 10),
        ("x", 2560, 10),
    ]
    # read as it stands, -512 would lead back to the same header for ever
    for damaged in (header(size=b"-0000001000\0"), header(size=b"\xff" * 12), header(size=b"8" * 12)):
        with pytest.raises(BadRecord):
            list(tar_members(io.BytesIO(damaged + body), "a"))
    for text in (b"14 size=-512\n", b"11 size=99999999999999999999\n"):
        pax = header(size=b"%011o\0" % len(text), kind=b"x") + text.ljust(512, b"\0")
        with pytest.raises(BadRecord, match="has the size"):
            list(tar_members(io.BytesIO(pax + header() + body), "a"))
    with pytest.raises(BadRecord, match="has a name of"):
        list(tar_members(io.BytesIO(header(size=b"00000300000\0", kind=b"L") + b"n" * 0o300000), "a"))


def test_the_same_members_as_the_standard_library(tmp_path):
    rng = np.random.default_rng(0)
    for format in FORMATS:
        members = [(f"{'d/' * int(n % 3)}{n}.txt", rng.bytes(int(rng.integers(0, 2000)))) for n in range(30)]
        path = write(tmp_path / "a.tar", members, format)
        with tarfile.open(path) as tar, open(path, "rb") as file:
            expected = [(m.name, m.offset_data, m.size) for m in tar.getmembers()]
            assert [tuple(m) for m in tar_members(file, "a")] == expected


def test_no_archive_in_a_folder(tmp_path):
    with pytest.raises(SkyEyeError, match="no .*tar file in this folder"):
        list(read_pairs(tmp_path))


ARCHIVE = io.BytesIO()
with tarfile.open(fileobj=ARCHIVE, mode="w", format=tarfile.PAX_FORMAT) as _tar:
    for _name, _content in [*pair("1"), *pair("ü" * 80), *pair("3")]:
        _info = tarfile.TarInfo(_name)
        _info.size = len(_content)
        _tar.addfile(_info, io.BytesIO(_content))


@given(
    st.lists(st.tuples(st.integers(0, len(ARCHIVE.getvalue()) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, 9000),
)
def test_any_damage_ends_in_words(changes, cut):
    data = bytearray(ARCHIVE.getvalue())
    for place, value in changes:
        data[place] = value
    data = bytes(data[: len(data) - cut])
    try:
        members = list(tar_members(io.BytesIO(data), "a"))
    except BadRecord:
        return
    assert all(0 <= m.offset <= m.offset + m.size <= len(data) for m in members)


@pytest.mark.parametrize("left", [0, 1, 511])
def test_an_archive_that_ends_between_two_members_is_told(tmp_path, items, left):
    """Zeros follow the last member. A copy that was cut off between two looks whole, but for these."""
    members = [("0.txt", b"a ship"), ("0.jpg", b"x"), ("1.txt", b"a boat"), ("1.jpg", b"x")]
    path = write(tmp_path / "a.tar", members, tarfile.USTAR_FORMAT)
    whole = path.read_bytes()
    assert [len(items("webdataset_pairs", path)[0]), items("webdataset_pairs", path)[1]] == [2, {}]
    path.write_bytes(whole[: 4 * 512 + left])
    records, skipped = items("webdataset_pairs", path)
    assert len(records) == 1 and skipped == {"damaged archive": 1}
