"""Which of the processes of a launcher this one is, by RANK and WORLD_SIZE of torchrun or ``scripts/slurm.sh``."""

from __future__ import annotations

import os
import re

from skyeye.errors import SkyEyeError

#: How many tasks ``srun`` or ``mpirun`` has started; neither says it in the words that torch reads.
TASKS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_START = "torchrun --nproc_per_node=N -m skyeye.train RECIPE, or scripts/slurm.sh under SLURM"


def world_size() -> int:
    """Number of processes that a launcher started; 1 without a launcher."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Rank of this process; 0 without a launcher. Known before any process group exists."""
    return _number("RANK", 0)


def processes_of_node() -> int:
    """Number of processes that a launcher started on this machine: by torchrun, or by ``srun`` (``8``, ``8(x2),4``, of
    which the largest is taken); 1 without a launcher."""
    of_srun = re.findall(r"(?:^|,)(\d+)", os.environ.get("SLURM_STEP_TASKS_PER_NODE") or "")
    return _number("LOCAL_WORLD_SIZE", max(map(int, of_srun), default=1))


def check_launch() -> None:
    """Refuse a start in which several processes would each take itself for the only one.

    Raises:
        SkyEyeError: a launcher that says only half of what is needed, or several tasks without a launcher.
    """
    given = [name for name in ("RANK", "WORLD_SIZE") if os.environ.get(name)]
    if len(given) == 1 and (given == ["RANK"] or world_size() > 1):
        (missing,) = {"RANK", "WORLD_SIZE"} - set(given)
        raise SkyEyeError(
            f"{given[0]}={os.environ[given[0]]} is set, but not {missing}",
            where="environment",
            remedy=f"unset it to run one process; several are started by {_START}",
        )
    if rank() >= world_size():
        raise SkyEyeError(
            f"RANK={rank()} with WORLD_SIZE={world_size()}: ranks count from 0",
            where="environment",
            remedy=f"start the processes by {_START}",
        )
    tasks = [name for name in TASKS if not given and os.environ.get(name, "").isdecimal() and int(os.environ[name]) > 1]
    if tasks:
        raise SkyEyeError(
            f"{tasks[0]}={os.environ[tasks[0]]}, but RANK and WORLD_SIZE are not set: each of these tasks would"
            " do all the work by itself, in the same folder",
            where="environment",
            remedy=f"start them by {_START}; for one process alone set {tasks[0]}=1",
        )


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name) or str(otherwise)
    if not (text.isascii() and text.isdecimal()):
        raise SkyEyeError(f"{name}={text} is no number of processes", where="environment", remedy=f"unset {name}")
    return int(text)
