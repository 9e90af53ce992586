"""Damaged recipes: read, or told in lines; never a traceback.

``SKYEYE_FUZZ=5000`` sets the number of damaged recipes of each kind; the seeds are fixed.
"""

from __future__ import annotations

import math
import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyeye.cli import main
from skyeye.config.load import load_recipe
from skyeye.data.preflight import load_recipe_to_run
from skyeye.errors import SkyEyeError

CASES = int(os.environ.get("SKYEYE_FUZZ", "40"))
TINY = Path(__file__).parents[2] / "configs/tiny.yaml"
#: What people and editors put into YAML, and what a value may have become.
PIECES = (b"\t", b"\r", b"\0", b"\xff\xfe", b"\xe9", b"\xef\xbb\xbf", b": ", b"- ", b"&a ", b"*a ", b"<<: ", b"---\n")
PIECES += (b"'", b'"', "“".encode(), b"{", b"]", b"${name}", b"${oc.env:NO_SUCH}", b"!!python/name:os", b"? ", b"|\n")
ODD: tuple[Any, ...] = (None, True, -1, 0, 1e308, math.inf, math.nan, 2**70, "", "x", "$NO_SUCH/x", "~", "${name}")
ODD += ([], [1, "a"], [[]], {}, {"a": 1}, {"name": "x"}, {1: 2}, "auto", "false", "0x10", "2026-11-26", "1,5")


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    at, how = rng.randrange(len(content)), rng.choice(("cut", "insert", "replace", "repeat"))
    if how == "cut":
        return content[:at]
    if how == "repeat":
        return content + content[at:]
    piece = rng.choice(PIECES)
    return content[:at] + piece + content[at + (len(piece) if how == "replace" else 0) :]


def changed_value(content: bytes, rng: random.Random) -> bytes:
    """A recipe in which one value, somewhere, is another one, has another name or is not there."""
    value = yaml.safe_load(content)
    place: Any = value
    key = rng.choice(list(value))
    while isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.85:
        place = place[key]
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
    how = rng.random()
    if how < 0.15:
        del place[key]
    elif how < 0.3 and isinstance(place, dict):
        place[rng.choice(("nam", 1, "", "a.b", None))] = place.pop(key)
    else:
        place[key] = rng.choice(ODD)
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("change", [changed_bytes, changed_value])
def test_a_damaged_recipe_is_read_or_told(change, tmp_path):
    rng, file, sound = random.Random(change.__name__), tmp_path / "r.yaml", TINY.read_bytes()
    read = 0
    for case in range(CASES):
        file.write_bytes(change(sound, rng))
        told = f"case {case}: {file.read_bytes()!r}"
        try:
            (load_recipe_to_run if case % 4 == 0 else load_recipe)(file)
            read += 1
        except SkyEyeError as error:
            first, *mistakes = str(error).split("\n")
            assert first and (mistakes or "mistake" not in first), told
            assert all(line.startswith("  ") for line in mistakes), told
        except Exception as error:
            raise AssertionError(told) from error
    assert CASES / 20 < read < CASES
    assert list(tmp_path.iterdir()) == [file]


WORDS = (
    "seed",
    "=",
    "stages.",
    "0",
    "pretrain",
    ".steps",
    "=[",
    "}",
    "{a: 1}",
    "null",
    "-1",
    "1e9",
    "..",
    " ",
    "*",
    "'",
)


def test_overrides_that_make_no_sense_are_told(tmp_path, capsys):
    rng = random.Random("overrides")
    for case in range(CASES):
        words = ["".join(rng.choices(WORDS, k=rng.randint(1, 5))).lstrip("-") for _ in range(rng.randint(1, 2))]
        code = main(["config", "show", str(TINY), *words])
        said = capsys.readouterr().err
        assert code in (0, 2) and "Traceback" not in said, (case, words, said)
        assert (code == 2) == said.startswith("error: "), (case, words, said)
