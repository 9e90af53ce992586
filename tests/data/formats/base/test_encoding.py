import codecs
import json

import pytest

from skyeye.data.formats.base.encoding import decode
from skyeye.data.formats.base.json_lines import iter_json_lines
from skyeye.data.formats.base.json_lists import iter_json_list
from skyeye.data.formats.base.problems import load_json, read_text
from skyeye.errors import SkyEyeError

TEXT = "港口 façade Привет"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_in_every_unicode_encoding(tmp_path, encoding):
    (tmp_path / "x.json").write_text(json.dumps([{"a": TEXT}], ensure_ascii=False), encoding=encoding)
    (tmp_path / "o.json").write_text(json.dumps({"a": TEXT}, ensure_ascii=False), encoding=encoding)
    lines = f'{{"a": "{TEXT}"}}\r\n\r\n{{"a": 2}}\r\n'
    (tmp_path / "x.jsonl").write_bytes(lines.encode(encoding))
    assert list(iter_json_list(tmp_path / "x.json")) == [{"a": TEXT}]
    assert load_json(tmp_path / "o.json", dict) == {"a": TEXT}
    assert [content for _, content in iter_json_lines(tmp_path / "x.jsonl")] == [{"a": TEXT}, {"a": 2}]


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ("GB2312", "gb18030", "镕港口"),  # the first sign is not in GB 2312: programs declare it and write GBK
        ("GBK", "gb18030", "港口"),
        ("ISO-8859-1", "cp1252", "façade €"),
        ("Shift_JIS", "cp932", "港 ①"),
        ("Big5", "big5", "港口"),
        ("windows-1251", "cp1251", "Порт"),
        ("UTF-8", "utf-8", TEXT),
        ("nonsense", "utf-8", TEXT),
    ],
)
def test_a_declaration_is_followed(declared, encoding, text):
    content = f'<?xml version="1.0" encoding="{declared}"?>\n<name>{text}</name>'.encode(encoding)
    assert decode(content, "x.xml").endswith(f"<name>{text}</name>")


def test_a_mark_is_stronger_than_a_declaration():
    content = codecs.BOM_UTF8 + f'<?xml encoding="GBK"?><name>{TEXT}</name>'.encode()
    assert TEXT in decode(content, "x.xml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("港口的船只停在码头旁边".encode("gb18030"), "iconv -f GB18030 -t UTF-8 'a b.txt' > utf8.txt"),
        ("la façade".encode("cp1252"), "iconv -f WINDOWS-1252 -t UTF-8 'a b.txt' > utf8.txt"),
        (b"\x89PNG\r\n\x1a\n\xff", "is a PNG picture, not annotations"),
        (b"PK\x03\x04\xff\xfe", "is a ZIP archive, not annotations (unpack"),
    ],
)
def test_what_cannot_be_decoded_is_called_what_it_is(content, words):
    with pytest.raises(SkyEyeError) as error:
        decode(content, "a b.txt")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>log in</body></html>", "is a web page"),
        (b"", "is empty (0 bytes)"),
    ],
)
def test_other_files_under_the_name_of_annotations(tmp_path, content, words):
    for name, read in (
        ("x.json", lambda path: list(iter_json_list(path))),
        ("o.json", lambda path: load_json(path, dict)),
        ("x.jsonl", lambda path: list(iter_json_lines(path))),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SkyEyeError) as error:
            read(tmp_path / name)
        assert words in str(error.value) and "\n" not in str(error.value)


def test_line_ends_of_all_programs(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "x.txt") == "a\nb\nc\n"
