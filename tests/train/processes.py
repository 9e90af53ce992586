"""Training in processes forked from one with all libraries loaded, which can be made to die at any moment."""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import random
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from torch.distributed import TCPStore

#: Seconds after which a test takes it that nothing more will happen: far more than anything takes on a busy machine.
HANGS = 600.0

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["preloaded"])


@functools.cache
def _start_server() -> None:
    """The process that the others are forked from: it finds :mod:`preloaded` only in a folder that it is told of."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ |= {"PYTHONPATH": before} if before else {}


def run(
    recipe: Path,
    *overrides: str,
    processes: int = 1,
    resume: bool = False,
    die: str | None = None,
    rank: int = 0,
    inject: str | None = None,
    after: float | None = None,
    send: int = signal.SIGKILL,
    agent: bool = True,
    timeout: float = HANGS,
) -> list[int]:
    """Train; the exit codes of the processes, -9 for one that was killed.

    Args:
        die: ``"module:name:n"``: process ``rank`` kills itself when it calls this for the n-th time (``:n+`` after it).
        inject: ``"module:function"``: called in every process before the run, to break something.
        after: seconds after which process ``rank`` gets the signal ``send``.
        agent: they meet at a port of this process, as with torchrun; else at one of the first of them, as with SLURM:
            who comes before it looks again only after half a second.
    """
    output = Path(recipe).with_name("output.txt")
    output.unlink(missing_ok=True)
    words = ["train", str(recipe), *overrides, *(["--resume"] if resume else [])]
    group = None
    if processes > 1 or any(re.search("strategy=(zero|ddp)", override) for override in overrides):
        meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if agent else None
        port = free_port() if meeting is None else meeting.port
        group = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        group["TORCHELASTIC_USE_AGENT_STORE"] = str(agent)
    children = []
    for number in range(processes):
        launched = {} if group is None else {**group, "RANK": str(number), "LOCAL_RANK": str(number)}
        children.append(start(words, output, launched, inject, die if number == rank else None))
    if after is not None:
        children[rank].join(after)
        if children[rank].is_alive():
            os.kill(children[rank].pid, send)
    late = _ended(children, time.monotonic() + timeout)
    assert not late, f"not finished after {timeout} s:\n{said(recipe)}"
    return [child.exitcode for child in children]


def _ended(children: Sequence[BaseProcess], deadline: float) -> list[BaseProcess]:
    """Wait until all have ended, by themselves or by force; those that had not at the deadline."""
    while (alive := [child for child in children if child.is_alive()]) and time.monotonic() < deadline:
        if -signal.SIGKILL in [child.exitcode for child in children]:
            time.sleep(0.1)  # as a launcher does, the others are ended
            for child in children:
                child.kill()
        if any(child.exitcode for child in children):  # the others may wait for one that has failed
            deadline = min(deadline, time.monotonic() + HANGS / 4)
        wait([child.sentinel for child in alive], timeout=max(0.0, deadline - time.monotonic()))
    late = [child for child in children if child.is_alive()]
    for child in late:
        child.kill()
    for child in children:
        child.join()
    return late


def start(
    words: Sequence[object],
    output: Path,
    environment: Mapping[str, str] | None = None,
    inject: str | None = None,
    die: str | None = None,
) -> BaseProcess:
    """Begin ``skyeye WORDS`` in a process of its own; what it prints goes behind what is in ``output``.

    Args:
        environment: variables that it has besides those of this process.
        inject, die: as in :func:`run`.
    """
    _start_server()
    where = (str(output), os.getcwd(), list(sys.path))
    child = _SERVER.Process(target=_child, args=([str(word) for word in words], *where, environment or {}, inject, die))
    child.start()
    return child


def said(recipe: Path) -> str:
    """What the processes of the last run printed."""
    return Path(recipe).with_name("output.txt").read_text(errors="replace")


def _child(
    words: list[str],
    output: str,
    folder: str,
    path: list[str],
    environment: dict[str, str],
    inject: str | None,
    die: str | None,
) -> None:
    os.chdir(folder)
    sys.path[:] = path
    with open(output, "a", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ |= {**environment, "OMP_NUM_THREADS": "1"}
    multiprocessing.set_start_method(None, force=True)  # that of this system, as outside of tests, not the server's
    import preloaded  # noqa: F401  (is there already; if it could not be imported it is said here)
    import torch

    from skyeye.cli import main
    from skyeye.train.parallel import distributed

    torch.set_num_threads(1)
    distributed.EXIT_PAUSE = 0.0  # it is for the end of the interpreter, which os._exit below leaves out
    if inject is not None:
        module, name = inject.split(":")
        getattr(importlib.import_module(module), name)()
    if die is not None:
        _die_at(*die.split(":"))
    code = 1
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def _die_at(module: str, name: str, count: str) -> None:
    """Make ``module.name`` (or ``module.Class.method``) kill its process on its n-th call; ``n+``: when it returns."""
    owner = importlib.import_module(module)
    *outer, last = name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    real, calls = getattr(owner, last), [0]

    @functools.wraps(real)
    def deadly(*args, **kwargs):
        calls[0] += 1
        if calls[0] == int(count.rstrip("+")) and not count.endswith("+"):
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if calls[0] == int(count.rstrip("+")):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, last, deadly)


def free_port() -> int:
    """A port below those that the system gives to any connection, one of which could take it before the run does."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
