"""Training in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # processes.py and injected.py are imported by the processes of tests, too


@pytest.fixture
def launch() -> Callable[..., subprocess.CompletedProcess]:
    """A function that trains in processes of their own: ``launch(recipe, *overrides, processes=2)``."""

    def run(recipe: Path, *overrides: str, processes: int = 1, check: bool = True) -> subprocess.CompletedProcess:
        command = ["-m", "skyeye.train", str(recipe), *overrides]
        if processes > 1 or any("strategy=zero" in override for override in overrides):
            torchrun = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--master_port=0"]
            command = [*torchrun[:2], "--standalone", torchrun[2], *command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=300, env=environment, check=False
        )
        assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done

    return run
