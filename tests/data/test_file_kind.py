import pytest

from skyeye.data.file_kind import describe_content


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "empty (0 bytes)"),
        (b"\0" * 100, "zero bytes only"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the file it stands for"),
        (b"<!DOCTYPE html><html>", "a web page (HTML): the download was answered with a page"),
        (b"<annotation/>", "XML"),
        (b'{"a": 1}', "JSON"),
        ("港口".encode("utf-16"), "text"),
    ],
)
def test_what_a_file_is(head, what):
    assert describe_content(head)[0] == what


def test_a_binary_file_that_opens_with_a_sign_of_text_is_no_text():
    assert (
        describe_content(b"<\x0b\0\0\0\0\0\0{" + b'"a": 1}' * 100) is None
    )  # safetensors with a header of 2,876 bytes
