"""The promise of docs/engine.md from the command line: killed, continued, compared; every command a process."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
MOMENTS = random.Random(1)
AFRESH = "no state of stage pretrain yet: it starts afresh"


def _skyeye(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "skyeye", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT, check=False)


def _killed(landmark: Path, lines: int, *words: object) -> tuple[bool, str]:
    """Start ``skyeye`` and kill it at some moment after a file has that many lines.

    Returns:
        Whether it was killed (False: it had finished before), and what it had said.
    """
    command = [sys.executable, "-m", "skyeye", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT) as process:
        while process.poll() is None and not (landmark.exists() and landmark.read_bytes().count(b"\n") >= lines):
            time.sleep(0.002)
        time.sleep(MOMENTS.uniform(0, 0.02))
        process.kill()
        said, _ = process.communicate()
    return process.returncode == -signal.SIGKILL, said.decode(errors="replace")


def _flip_last_byte(file: Path) -> str:
    """Change a byte of the tensor that lies last in a file; its name."""
    content = bytearray(file.read_bytes())
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    header.pop("__metadata__", None)
    content[-1] ^= 1
    file.write_bytes(content)
    return max(header, key=lambda name: header[name]["data_offsets"][1])


def test_killed_again_and_again_a_run_is_identical_to_one_that_was_not(recipe, tmp_path):
    stages = ["stages.0.steps=600", "stages.1.steps=600", "run.checkpoint_every=50", "run.workers=1"]
    command = ["train", recipe(), *stages, "--quick"]  # 60 steps each, a state at every fifth
    a, b = tmp_path / "A", tmp_path / "B"
    whole = _skyeye(*command, f"run.dir={a}")
    assert whole.returncode == 0, whole.stderr[-3000:]

    assert _killed(b / "recipe.yaml", 0, *command, f"run.dir={b}")[0]
    assert not (b / "states").exists()
    killed, said = _killed(b / "log.jsonl", 1, *command, f"run.dir={b}", "--resume")
    assert killed and AFRESH in said
    # a step is a line; how long one takes depends on what else the machine does
    kills = [
        _killed(b / "log.jsonl", MOMENTS.randrange(first, first + 40), *command, f"run.dir={b}", "--resume")[0]
        for first in (10, 55)
    ]
    assert any(kills), "the run was over before it was killed"
    done = _skyeye(*command, f"run.dir={b}", "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    same = _skyeye("checkpoint", "diff", a, b)
    assert (same.returncode, same.stdout) == (0, "identical\n"), same.stderr
    changed = b / "states/single_task-0000060/moments.safetensors"
    name = _flip_last_byte(changed)
    other = _skyeye("checkpoint", "diff", a, b)
    assert other.returncode == 1 and other.stdout.startswith(f"{changed.relative_to(b)}: {name} differs"), other
