"""How the text of an annotation file is encoded: as the file says itself, else UTF-8."""

from __future__ import annotations

import codecs
import io
import re
import shlex
from collections.abc import Iterator
from typing import BinaryIO

from skyeye.data.file_kind import HEAD, describe_content
from skyeye.errors import SkyEyeError

_DECLARED = re.compile(rb"<\?xml[^>]{0,100}?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
_MARKS = {  # the mark of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
#: Names in declarations whose files hold signs of a larger set: GB 2312 is written by programs that mean GBK.
_LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "latin-1": "cp1252", "shift_jis": "cp932"}
#: Of what :func:`describe_content` tells, what annotations may well be.
TEXTS = ("text", "JSON", "XML")
_FOREIGN = re.compile(rb"[\x80-\xff]+")
_HAN = re.compile("[\u4e00-\u9fff]")


def encoding_of(start: bytes) -> str:
    """The encoding that the first bytes of a text announce, by byte order mark or XML declaration; else UTF-8."""
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    declared = _DECLARED.match(start[:200])
    if declared is None:
        return "utf-8-sig"
    try:
        name = codecs.lookup(declared[1].decode()).name
    except LookupError:
        return "utf-8-sig"
    return _LARGER.get(name, name)


def decode(content: bytes, where: str) -> str:
    """The text of a file, decoded as it announces itself.

    Raises:
        SkyEyeError: it is no text, or of an encoding that it does not announce; the remedy can be typed.
    """
    try:
        return content.decode(encoding_of(content)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise not_text(content, error, where) from error


def not_text(content: bytes, error: UnicodeDecodeError, where: str, at: int | None = None) -> SkyEyeError:
    """What is told of bytes that cannot be decoded.

    Args:
        content: the beginning of the file, or the part in which the mistake stands.
        at: place of the byte in the file; None: that of the error.
    """
    known = describe_content(content[:HEAD])
    if known is not None and known[0] not in TEXTS:
        return SkyEyeError(f"is {known[0]}, not annotations", where=where, remedy=known[1])
    place = error.start if at is None else at
    guess = _guess(content[max(0, error.start - 200) : error.start + 200])
    remedy = f"save it as UTF-8; if it is {guess}: iconv -f {guess} -t UTF-8 {shlex.quote(where)} > utf8.txt"
    return SkyEyeError(f"is not text in {error.encoding.upper()}: byte {place} is not", where=where, remedy=remedy)


def binary_lines(file: BinaryIO, longest: int) -> Iterator[bytes]:
    """The lines of a text file as UTF-8; of one with more than ``longest`` bytes a part that shows it.

    Raises:
        UnicodeDecodeError: a file in UTF-16 or UTF-32 is damaged.
    """
    encoding = encoding_of(file.read(4))
    file.seek(0)
    if encoding != "utf-8-sig":
        text = io.TextIOWrapper(file, encoding, newline="\n")
        while part := text.readline(longest + 1):
            yield part.removeprefix("\ufeff").encode("utf-8", "surrogatepass")
            while len(part) > longest and not part.endswith("\n"):
                part = text.readline(longest + 1)
        return
    first = True
    while line := file.readline(longest + 1):
        yield line.removeprefix(codecs.BOM_UTF8) if first else line
        first = False
        while len(line) > longest and not line.endswith(b"\n"):
            line = file.readline(longest + 1)


def _guess(content: bytes) -> str:
    """The likeliest of the encodings that people's files are in, where nothing says it."""
    runs = _FOREIGN.findall(content)
    chinese = len(_HAN.findall(b"".join(runs).decode("gb18030", "ignore")))
    # a Latin letter with an accent stands alone, Chinese signs of two bytes side by side
    return "GB18030" if chinese * 2 >= 0.8 * sum(map(len, runs)) and chinese >= len(runs) else "WINDOWS-1252"
