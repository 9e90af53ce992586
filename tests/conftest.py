"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("skyeye", deadline=None)  # a busy machine is no failure
settings.load_profile("skyeye")
torch.set_num_threads(1)  # on models of a few thousand parameters threads cost more than they bring


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference's numbers; another set of the same layout is tested by setting SKYEYE_GOLDEN."""
    return Path(os.environ.get("SKYEYE_GOLDEN") or Path(__file__).parent / "golden").resolve()


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test draws the same random numbers, alone or in a suite."""
    torch.manual_seed(0)
