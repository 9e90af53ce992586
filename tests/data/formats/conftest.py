import copy
import json
import random
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

import skyeye
from skyeye.config.schema import SourceConfig
from skyeye.data.formats import check_source, read_with_problems
from skyeye.data.formats.base.image_folder import ImageLookup
from skyeye.data.formats.base.noted import noting
from skyeye.data.formats.base.problems import Problem
from skyeye.data.record import group_by_image
from skyeye.data.table import build_table

PACKAGE = str(
    Path(skyeye.__file__).parent
)  # of a checkout among temporary files; readers are imported when they are asked
_opened: list[set[str]] = []  # an audit hook cannot be taken off: it looks whether anybody wants to know


def _note_open(event, arguments):
    if event == "open" and _opened and isinstance(arguments[0], (str, Path)):
        _opened[-1].add(str(arguments[0]))


sys.addaudithook(_note_open)


@contextmanager
def opened_files():
    """The names of all files that are opened until the block ends."""
    _opened.append(set())
    try:
        yield _opened[-1]
    finally:
        _opened.pop()


@pytest.fixture
def read(written):
    """(format, path, ...) -> records in MiniGPT-v2's words, and how many of which kind were skipped."""

    def read(format: str, path: Path, images: Path | None = None, split: str | None = None, **options):
        source = SourceConfig(format, str(path), images and str(images), split, options)
        with noting() as notes, opened_files() as opened:
            records, problems = read_with_problems(source, "mine")
        noted = {key[1] for key in notes if key[0] in ("file", "picture")}
        looked_at = {file for file in opened if file.startswith(tempfile.gettempdir()) and not file.startswith(PACKAGE)}
        assert looked_at <= noted, "an index needs to know"
        table = build_table(records)
        assert [table.group(number) for number in range(len(table))] == group_by_image(records)
        return [written(record) for record in records], Counter(problem.kind for problem in problems)

    return read


@pytest.fixture
def items():
    """(format, path, ...) -> records, and how many units of which kind were skipped; also when nothing is sound."""

    def items(
        format: str,
        path: Path,
        images: Path | None = None,
        split: str | None = None,
        keep_absent: bool = False,
        **options,
    ):
        source = SourceConfig(format, str(path), images and str(images), split, options)
        reader = check_source(source, "mine")
        found = list(
            reader(source.path, images=ImageLookup(source.images, keep_absent), split=source.split, **source.options)
        )
        skipped = Counter()
        for problem in found:
            if isinstance(problem, Problem):
                skipped[problem.kind] += problem.count
        return [record for record in found if not isinstance(record, Problem)], skipped

    return items


@pytest.fixture(scope="session")
def damage():
    """(content of a file, random generator) -> the content after one to three blows."""
    return _damage


ODD = (
    *(None, True, -1, 0, 10**30, 1e308, float("nan"), float("-inf"), "", " ", "\0", "\ud800", "x" * 5000),
    *("../../etc/passwd", "/etc/passwd", "C:\\a\\..\\b", "{<1><2>", "<image>", "[vqa]", [], {}, [[]], [None], [{}]),
    [[[[[[[[[[[]]]]]]]]]]],
)
PIECES = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", "\u2028\x85".encode(), b"\n", b"\r\n\r", b",", b":", b"?"),
    *(b'"', b"{", b"[" * 50, b"]", b"<", b"&#0;", b"<!DOCTYPE a>", b"<a>" * 60),
    *(b"-", b"1e999", b"NaN", b"9" * 400, b"9" * 5000, b"../"),
)


def _damage(content: bytes, rng: random.Random) -> bytes:
    """One to three blows to a file: to its bytes, its lines, or its JSON values."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice((_bytes, _bytes, _lines, _json, _json, _json, _encoding))(content, rng)
    return content


def _bytes(content: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randrange(len(content) + 1) for _ in "ab")
    b = min(b, a + rng.choice((1, 4, 40, 4000)))
    kind = rng.randrange(5)
    if kind == 0:
        return content[:a]
    if kind == 1:
        return content[:a] + bytes(rng.randrange(256) for _ in content[a : min(b, a + 4)]) + content[min(b, a + 4) :]
    if kind == 2:
        return content[:a] + content[b:]
    if kind == 3:
        return content[:b] + content[a:]
    return content[:a] + rng.choice(PIECES) + content[a:]


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines[i:i] = [lines[j]] * rng.randrange(1, 3)
    elif kind == 2:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        sign = rng.choice((b",", b" ", b":", b"<", b"?"))
        words = lines[i].split(sign)
        words[rng.randrange(len(words))] = rng.choice(PIECES)
        lines[i] = sign.join(words)
    return b"\n".join(lines)


def _json(content: bytes, rng: random.Random) -> bytes:
    """A key or element goes, comes twice, changes its place or becomes something odd."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return _bytes(content, rng)
    places: list[tuple[dict | list, object]] = []
    waiting = [value]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
        places += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    if not places:
        return json.dumps(rng.choice(ODD)).encode()
    node, key = rng.choice(places)
    kind = rng.randrange(5)
    if kind == 0:
        del node[key]
    elif kind == 1:
        other, place = rng.choice(places)
        node[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(node[key])
    elif kind == 2 and isinstance(node, list):
        node[key:key] = copy.deepcopy(node[key : key + 1]) * rng.randrange(1, 4)
    elif kind == 3 and isinstance(node, dict):
        node[rng.choice(("id", "filename", "raw", "extra", ""))] = node.pop(key)
    else:
        node[key] = copy.deepcopy(rng.choice(ODD))
    return json.dumps(value).encode()


def _encoding(content: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(12)
    if kind == 0:
        return content.decode("utf-8", "replace").encode("utf-16")
    if kind == 1:
        return b"\xef\xbb\xbf" + content
    if kind == 2:
        return content.replace(b"\n", b"\r\n")
    if kind == 3:
        return (b"[" * 100_000) + content
    return _bytes(content, rng)
