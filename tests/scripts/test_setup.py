"""``scripts/setup.sh`` where everything is installed already: what every launcher calls first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
#: Stands for flock on NFS: an exclusive lock needs a descriptor that is open for writing (access mode 1 or 2).
NFS = """#!/usr/bin/env bash
while read -r name flags; do if [ "$name" = flags: ]; then mode=$((8#$flags & 3)); fi; done </proc/$$/fdinfo/$1
if [ "$mode" = 0 ]; then echo "flock: $1: Bad file descriptor" >&2; exit 65; fi
"""
NO_LOCKS = "#!/usr/bin/env bash\necho 'flock: No locks available' >&2\nexit 71\n"


@pytest.fixture
def installed(tmp_path) -> Path:
    """A folder as it is after a set-up, without a GPU."""
    (tmp_path / "scripts").mkdir()
    for name in ("setup.sh", "constraints-cpu.txt"):
        (tmp_path / "scripts" / name).write_bytes((SCRIPTS / name).read_bytes())
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    words = '{ echo "$PWD $c"; cat pyproject.toml scripts/setup.sh "$c"; } | cksum >.venv/skyeye-setup.done'
    subprocess.run(["bash", "-c", f"c=scripts/constraints-cpu.txt; {words}"], cwd=tmp_path, check=True)
    return tmp_path


def _set_up(folder: Path, flock: str, **changes: str) -> subprocess.CompletedProcess[str]:
    tools = folder / "tools"
    tools.mkdir()
    for name, text in (("flock", flock), ("nvidia-smi", "#!/bin/sh\nexit 1\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"} | changes
    command = ["bash", str(folder / "scripts" / "setup.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="needs /proc")
def test_the_lock_is_taken_on_a_file_that_is_open_for_writing(installed):
    done = _set_up(installed, NFS + "touch locked\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (installed / "locked").exists()


def test_a_file_system_without_locks_is_no_hindrance(installed):
    done = _set_up(installed, NO_LOCKS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_a_lock_a_set_up_says_so(installed):
    (installed / ".venv" / "skyeye-setup.done").write_text("something else")
    (installed / ".venv" / "bin" / "python").unlink()
    done = _set_up(installed, NO_LOCKS, PYTHON="/bin/false")  # which is no Python: it ends before anything is installed
    assert done.returncode == 1 and "No lock could be taken here" in done.stderr
