import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.images.reference import KEYS, format_reference, parse_reference, read_bytes
from skyeye.errors import SkyEyeError

details = st.dictionaries(st.sampled_from(KEYS), st.text("0123456789,.", min_size=1, max_size=8), max_size=4)


@given(st.text("ab#=&/.", min_size=1, max_size=12).filter(lambda path: "=" not in path), details)
def test_what_is_written_is_read(path, details):
    assert parse_reference(format_reference(path, **details)) == (path, details)


def test_lists_are_joined_and_none_is_skipped():
    assert format_reference("a.tif", bands=[4, 3, 2], stretch=None) == "a.tif#bands=4,3,2"


@pytest.mark.parametrize("name", ["a#b.jpg", "tile#3", "x#color=red.png", "a#offset"])
def test_a_hash_in_a_file_name_is_no_detail(name):
    assert parse_reference(name) == (name, {})


def test_unknown_details_are_refused():
    with pytest.raises(ValueError, match="page"):
        format_reference("a.tif", page=2)


def test_the_bytes_of_a_member(tmp_path):
    file = tmp_path / "a.tar"
    file.write_bytes(b"0123456789")
    assert read_bytes(file) == b"0123456789"
    assert read_bytes(format_reference(file, offset=3, size=4)) == b"3456"
    with pytest.raises(SkyEyeError, match="ends 2 bytes before"):
        read_bytes(format_reference(file, offset=8, size=4))
    with pytest.raises(SkyEyeError, match="cannot be read"):
        read_bytes(tmp_path / "none.tar")
