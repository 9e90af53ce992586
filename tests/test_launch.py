"""Launchers: what they say of their processes, and what they leave out."""

from __future__ import annotations

import pytest

from skyeye.errors import SkyEyeError
from skyeye.launch import TASKS, check_launch, rank, world_size


@pytest.fixture(autouse=True)
def bare(monkeypatch) -> None:
    for name in ("RANK", "WORLD_SIZE", *TASKS):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "4"}, (1, 4)),
        ({"WORLD_SIZE": "1"}, (0, 1)),
        ({"RANK": "", "WORLD_SIZE": ""}, (0, 1)),
        ({"SLURM_NTASKS": "1"}, (0, 1)),
        ({"SLURM_NTASKS": "8", "RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),  # scripts/slurm.sh, or torchrun inside a job
    ],
)
def test_sound_starts(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    check_launch()
    assert (rank(), world_size()) == expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, "SLURM_NTASKS=2, but RANK and WORLD_SIZE are not set"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE=2, but RANK"),
        ({"PMI_SIZE": "2"}, "PMI_SIZE=2, but RANK"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 is set, but not RANK"),
        ({"RANK": "0"}, "RANK=0 is set, but not WORLD_SIZE"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 with WORLD_SIZE=2: ranks count from 0"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "RANK=first is no number"),
        ({"RANK": "0", "WORLD_SIZE": "-1"}, "WORLD_SIZE=-1 is no number"),
    ],
)
def test_starts_that_would_train_the_same_run_several_times_are_refused(monkeypatch, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SkyEyeError, match=message):
        check_launch()
