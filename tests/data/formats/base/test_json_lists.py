import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.formats.base import json_lists
from skyeye.data.formats.base.json_lists import iter_json_list
from skyeye.data.formats.base.problems import load_json
from skyeye.errors import SkyEyeError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def small_pieces(monkeypatch):
    """Every element is cut by the border between two pieces."""
    monkeypatch.setattr(json_lists, "CHUNK", 3)


@given(items=st.lists(values, max_size=6), indent=st.sampled_from([None, 1]), ascii_=st.booleans(), bom=st.booleans())
def test_as_json_reads_it(tmp_path_factory, items, indent, ascii_, bom):
    path = tmp_path_factory.getbasetemp() / "list.json"
    text = json.dumps(items, indent=indent, ensure_ascii=ascii_)
    path.write_bytes(("\ufeff" * bom + text).encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "CHUNK", 3)
        try:
            assert list(iter_json_list(path)) == items
        except SkyEyeError as error:
            assert "is not UTF-8" in str(error)  # half of a surrogate pair, written unescaped
            assert not ascii_


@pytest.mark.parametrize(
    ("content", "before", "words"),
    [
        (b"", 0, "is empty (0 bytes)"),
        (b" \n ", 0, "is empty (3 bytes)"),
        (b'{"a": 1}', 0, "holds a JSON object where a list [...] is expected"),
        (b'"a"', 0, "holds a JSON string where a list"),
        (b"-1", 0, "holds a JSON number where a list"),
        (b"null", 0, "holds a JSON null where a list"),
        (b"nothing", 0, "holds a JSON null where a list"),
        (b"<html>", 0, ", not JSON (fetch the file itself)"),
        (b"ships", 0, "line 1, column 1: is not valid JSON: Expecting value"),
        (b'[1,\n {"a": 2},\n  {"a" 3}]', 2, "line 3, column 8: is not valid JSON: Expecting ':' delimiter"),
        (b"[1,\n\n2", 2, "line 3, column 2: is not valid JSON: Expecting ',' delimiter"),
        (b'[1, "abc', 1, "line 1, column 5: is not valid JSON: Unterminated string"),
        (b"[1] 2", 1, "line 1, column 5: is not valid JSON: Extra data"),
        (b"[1,\n]", 1, "line 2, column 1: is not valid JSON: Expecting value"),
        (b"[1, \xc3\x28]", 1, "is not text in UTF-8: byte 4 is not"),
        (b"[1, \xc3", 1, "is not text in UTF-8: byte 4 is not"),
        (b"[1, " + b"9" * 5000 + b"]", 1, "is not usable JSON: Exceeds the limit"),
        (b"[1, " + b"[" * 200_000, 1, "is not usable JSON: maximum recursion depth"),
    ],
)
def test_mistakes_have_a_place_and_come_after_what_was_sound(tmp_path, monkeypatch, content, before, words):
    (tmp_path / "x.json").write_bytes(content)
    for chunk in (3, 1 << 20) if len(content) < 100 else (1 << 20,):
        monkeypatch.setattr(json_lists, "CHUNK", chunk)
        found = []
        with pytest.raises(SkyEyeError) as error:
            found.extend(iter_json_list(tmp_path / "x.json"))
            found.append("no error")
        assert words in str(error.value) and "x.json" in str(error.value), chunk
        assert len(found) == before or b"\xc3" in content  # a piece is decoded before its elements are


def test_number_that_goes_on_in_the_next_piece(tmp_path, small_pieces):
    numbers = [123456789, -1.5e-7, 12.25, True, None, 1e22, 3]
    (tmp_path / "x.json").write_text(json.dumps(numbers))
    assert list(iter_json_list(tmp_path / "x.json")) == numbers


def test_missing_file(tmp_path):
    with pytest.raises(SkyEyeError, match="cannot be read: No such file"):
        list(iter_json_list(tmp_path / "x.json"))
    with pytest.raises(SkyEyeError, match=r"is a folder \(give the file in it\)"):
        list(iter_json_list(tmp_path))


def test_memory_is_that_of_an_element(tmp_path):
    import tracemalloc

    record = json.dumps({"image": "a.jpg", "text": "x" * 1000})
    (tmp_path / "x.json").write_text("[" + ",\n".join([record] * 30_000) + "]")  # 31 MB
    tracemalloc.start()
    count = sum(1 for _ in iter_json_list(tmp_path / "x.json"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 8 * json_lists.CHUNK


def test_an_element_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lists, "LONGEST", 1000)
    monkeypatch.setattr(json_lists, "CHUNK", 100)
    (tmp_path / "x.json").write_text('[1, "' + "x" * 5000)
    with pytest.raises(SkyEyeError, match="line 1, column 5: holds an element of more than 1000 characters"):
        list(iter_json_list(tmp_path / "x.json"))


def test_damaged_files_are_read_as_json_reads_them(tmp_path, monkeypatch, damage):
    """The same verdict as the whole file at once, and the same values, whatever the size of the pieces."""
    path, rng = tmp_path / "x.json", random.Random(3)
    sound = json.dumps([{"image": f"{n}.jpg", "text": "wörter \\ud83d\ude00", "n": [n, 1.5e3, None]} for n in range(5)])
    for _ in range(400):
        path.write_bytes(damage(sound.encode(), rng))
        monkeypatch.setattr(json_lists, "CHUNK", rng.choice((1, 7, 64, 1 << 20)))
        try:
            whole = load_json(path, list)
        except SkyEyeError:
            whole = None
        try:
            pieces = list(iter_json_list(path))
        except SkyEyeError:
            pieces = None
        assert repr(pieces) == repr(whole)
