"""The rooms that pyproject.toml names under ``[tool.mypy]`` have no error of types; docs: CONTRIBUTING.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow  # .github/workflows/lint.yml runs it for every commit
@pytest.mark.timeout(1800)  # without a cache it reads the types of torch and transformers, too
def test_the_typed_rooms_are_clean():
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
