"""Training in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # processes.py and injected.py are imported by the processes of tests, too


@pytest.fixture
def launch() -> Callable[..., None]:
    """A function that trains in processes of their own to the end: ``launch(recipe, *overrides, processes=2)``;
    further options are those of ``processes.run``."""
    from processes import run, said

    def to_the_end(recipe: Path, *overrides: str, processes: int = 1, **options: object) -> None:
        codes = run(recipe, *overrides, processes=processes, **options)
        assert codes == [0] * processes, said(recipe)[-4000:]

    return to_the_end
