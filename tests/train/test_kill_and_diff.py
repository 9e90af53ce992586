"""The promise of docs/engine.md from the command line: killed, continued, compared; every command a process."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

from processes import HANGS, start

MOMENTS = random.Random(1)
AFRESH = "no state of stage pretrain yet: it starts afresh"


def _skyeye(output: Path, *words: object) -> tuple[int, str]:
    """Exit code of ``skyeye WORDS``, and what it said."""
    output.unlink(missing_ok=True)
    process = start(words, output)
    process.join(HANGS)
    assert not process.is_alive(), output.read_text()
    return process.exitcode, output.read_text(errors="replace")


def _killed(landmark: Path, lines: int, output: Path, *words: object) -> tuple[bool, str]:
    """Start ``skyeye`` and kill it at some moment after a file has that many lines.

    Returns:
        Whether it was killed (False: it had finished before), and what it had said.
    """
    output.unlink(missing_ok=True)
    process = start(words, output)
    while process.is_alive() and not (landmark.exists() and landmark.read_bytes().count(b"\n") >= lines):
        time.sleep(0.002)
    time.sleep(MOMENTS.uniform(0, 0.02))
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL, output.read_text(errors="replace")


def _flip_last_byte(file: Path) -> str:
    """Change a byte of the tensor that lies last in a file; its name."""
    content = bytearray(file.read_bytes())
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    header.pop("__metadata__", None)
    content[-1] ^= 1
    file.write_bytes(content)
    return max(header, key=lambda name: header[name]["data_offsets"][1])


def test_killed_again_and_again_a_run_is_identical_to_one_that_was_not(recipe, tmp_path):
    stages = ["stages.0.steps=300", "stages.1.steps=300", "run.checkpoint_every=50", "run.workers=1"]
    command = ["train", recipe(), *stages, "--quick"]  # 30 steps each, a state at every fifth
    a, b, output = tmp_path / "A", tmp_path / "B", tmp_path / "output.txt"
    code, said = _skyeye(output, *command, f"run.dir={a}")
    assert code == 0, said[-3000:]

    assert _killed(b / "recipe.yaml", 0, output, *command, f"run.dir={b}")[0]
    assert not (b / "states").exists()
    killed, said = _killed(b / "log.jsonl", 1, output, *command, f"run.dir={b}", "--resume")
    assert killed and AFRESH in said
    # a step is a line; how long one takes depends on what else the machine does
    kills = [
        _killed(b / "log.jsonl", MOMENTS.randrange(first, first + 20), output, *command, f"run.dir={b}", "--resume")[0]
        for first in (7, 28)
    ]
    assert any(kills), "the run was over before it was killed"
    code, said = _skyeye(output, *command, f"run.dir={b}", "--resume")
    assert code == 0, said[-3000:]
    assert _skyeye(output, "checkpoint", "diff", a, b) == (0, "identical\n")
    changed = b / "states/single_task-0000030/moments.safetensors"
    name = _flip_last_byte(changed)
    code, said = _skyeye(output, "checkpoint", "diff", a, b)
    assert code == 1 and said.startswith(f"{changed.relative_to(b)}: {name} differs"), said
