"""Damaged checkpoints: shown, opened and converted, or told in one line; never a traceback, and nothing half-written.

``SKYEYE_FUZZ=5000`` sets the number of damaged files of each kind; the seeds are fixed.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch

from skyeye.cli import main
from skyeye.config.schema import LoraConfig
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.pretrained import empty_model, find_checkpoint, open_checkpoint
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import train_tokenizer

CASES = int(os.environ.get("SKYEYE_FUZZ", "30"))
FILES = ("config.json", "processor_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
#: What a value of a configuration may have become.
ODD = (None, True, -1, 0, 77, 1e308, "", "x", [], [1, "a"], {}, {"a": 1}, float("nan"))
PIECES = (b"", b"\0", b"{}", b"[", b"\xff\xfe", b"NaN", b'"', b"}{", b"\x80\x04\x95", b"<!doctype html>", b"9" * 400)


@pytest.fixture(scope="module")
def sound(tmp_path_factory, tiny_config) -> Path:
    """A checkpoint folder, and beside it ``x.pth`` in the reference's format."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["how many ships are there"], 600)
    config = tiny_config(lora=LoraConfig(r=2, alpha=4))
    build_model(config, tokenizer).save_pretrained(folder / "sound")
    SkyEyeProcessor.from_config(config, tokenizer).save_pretrained(folder / "sound")
    assert main(["checkpoint", "convert", str(folder / "sound"), str(folder / "x.pth"), "--everything"]) == 0
    return folder


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content)) if rng.random() < 0.5 else rng.randrange(min(len(content), 400))
    how = rng.choice(("cut", "insert", "replace", "flip"))
    if how == "cut":
        return content[:at]
    if how == "flip":
        return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    piece = rng.choice(PIECES)
    return content[:at] + piece + content[at + (len(piece) if how == "replace" else 0) :]


def changed_value(content: bytes, rng: random.Random) -> bytes:
    """JSON in which one value, somewhere, is another one or is not there."""
    value = json.loads(content)
    place, key = value, rng.choice(list(value))
    while isinstance(place[key], dict) and place[key] and rng.random() < 0.8:
        place, key = place[key], rng.choice(list(place[key]))
    if rng.random() < 0.3:
        del place[key]
    else:
        place[key] = rng.choice(ODD)
    return json.dumps(value).encode()


def run(*words: str | Path) -> tuple[int, str]:
    """Exit code, and what stands on stderr besides progress."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as err:
        code = main([str(word) for word in words])
    return code, err.getvalue()


def check(told: str, code: int, said: str) -> None:
    assert code in (0, 1, 2, 130), told
    assert "Traceback" not in said and (code != 2 or said.startswith("error: ")), told
    assert code != 2 or said.count("\n") == 1, (told, said)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_folder_is_opened_or_told(name, sound, tmp_path):
    rng, folder = random.Random(f"folder {name}"), tmp_path / "c"
    shutil.copytree(sound / "sound", folder)
    whole = (folder / name).read_bytes()
    opened = 0
    cases = CASES // 5 if "token" in name or "processor" in name else CASES  # a tokenizer takes a tenth of a second
    for case in range(cases):
        change = changed_value if name.endswith(".json") and rng.random() < 0.6 else changed_bytes
        (folder / name).write_bytes(change(whole, rng))
        told = f"case {case}, {name}: {(folder / name).read_bytes()[:400]!r}"
        try:
            if cases == CASES:
                empty_model(find_checkpoint(folder))
            else:
                open_checkpoint(folder)
            opened += 1
        except SkyEyeError as error:
            assert "\n" not in str(error) and str(error).strip(), told
        except MemoryError:
            raise AssertionError(told) from None
    assert opened < cases  # something was damaged


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "x.pth"])
def test_a_damaged_checkpoint_is_shown_and_converted_or_one_line(name, sound, tmp_path):
    rng, reference = random.Random(f"commands {name}"), name == "x.pth"
    source, target = tmp_path / ("x.pth" if reference else "c"), tmp_path / ("dir" if reference else "y.pth")
    file = source if reference else source / name
    if reference:
        shutil.copy(sound / name, source)
    else:
        shutil.copytree(sound / "sound", source)
    whole, done = file.read_bytes(), 0
    for case in range(CASES):
        change = changed_value if name == "config.json" and rng.random() < 0.6 else changed_bytes
        file.write_bytes(change(whole, rng))
        told = f"case {case}, {name}: {file.read_bytes()[:400]!r}"
        before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
        check(told, *run("checkpoint", "show", source))
        base = ["--base", sound / "sound"] if reference and case % 2 else []
        code, said = run("checkpoint", "convert", source, target, *base)
        check(told, code, said)
        after = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} - before
        assert {path.parts[0] for path in after} == ({target.name} if code == 0 else set()), told
        done += code == 0
        if target.is_dir():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
    assert 0 < done < CASES
