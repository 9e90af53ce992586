"""``skyeye doctor``: what this machine has for training, and for each thing that it lacks one line of what to do.

Every examination stands alone: what one of them raises becomes a finding, and the others go on. Nothing heavy is
imported at the top, so that the report comes also where a library is broken.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from skyeye.errors import SkyEyeError

#: Below these a run is likely to stop or to wait.
FREE_DISK = 20 * 2**30  # two exports of a 7B model in bfloat16 are 31 GB; half of one is already short
DISK_SPEED = 100e6  # bytes a second; an export of 16 GB then takes almost three minutes
SHARED_MEMORY = 2**30
OPEN_FILES = 4096  # workers hand tensors over as open files: packs x tensors x workers x 2
#: Bytes written and read to measure the disk.
PROBE = 128 * 2**20

_ALL_REDUCE = """
import sys, torch, torch.distributed as dist
from datetime import timedelta
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2, timeout=timedelta(seconds=30))
ones = torch.ones(1000)
dist.all_reduce(ones)
assert ones.sum().item() == 2000
dist.destroy_process_group()
"""


class Finding(NamedTuple):
    """One line of the report: ``remedy`` says what to do about a problem; None: there is none."""

    subject: str
    found: str
    remedy: str | None = None


def examine(out: Path, seconds: float = 60.0) -> list[Finding]:
    """Examine this machine.

    Args:
        out: folder that runs will write to; it is not made.
        seconds: after which two processes that should meet over gloo are given up.
    """
    examinations: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", _python),
        ("libraries", _libraries),
        ("devices", _devices),
        ("processes", lambda: _processes(seconds)),
        ("tools", _tools),
        ("disk", lambda: _disk(out)),
        ("limits", _limits),
        ("wandb", _wandb),
    ]
    findings = []
    for name, examination in examinations:
        try:
            findings += examination()
        except Exception as error:  # whatever is broken here is what the report is for
            reason = (str(error).strip().splitlines() or [""])[0]
            found = f"could not be examined: {type(error).__name__}: {reason}"[:300]
            findings.append(Finding(name, found, "mend this first, then run skyeye doctor again"))
    return findings


def format_text(findings: list[Finding]) -> str:
    """The report as text, problems at the end as well."""
    width = max(len(finding.subject) for finding in findings)
    lines = [f"{'!' if f.remedy else ' '} {f.subject.ljust(width)}  {f.found}" for f in findings]
    problems = [f for f in findings if f.remedy]
    lines.append("")
    lines += [f"{f.subject}: {f.found}\n    {f.remedy}" for f in problems]
    lines.append(f"{len(problems)} problem(s)" if problems else "sound")
    return "\n".join(lines)


def _python() -> Iterator[Finding]:
    wanted, _ = _requirements()
    found = f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores"
    least = tuple(int(part) for part in re.findall(r"\d+", wanted)[:2])
    yield Finding("python", found, f"use Python {wanted}" if sys.version_info[:2] < least else None)


def _requirements() -> tuple[str, list[str]]:
    """The Python and the libraries that are wanted, as the installed package says it; run from a folder, its
    pyproject.toml."""
    try:
        return metadata.metadata("skyeye").get("Requires-Python", ">=3.11"), metadata.requires("skyeye") or []
    except metadata.PackageNotFoundError:
        path = Path(__file__).parents[1] / "pyproject.toml"
        try:
            project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
            what = "skyeye is neither installed nor run from its folder: the libraries that it wants are unknown"
            raise SkyEyeError(what, where=str(path), remedy="pip install -e . in its folder") from error
    extras = project.get("optional-dependencies", {}).items()
    optional = [f"{line} ; extra == '{group}'" for group, lines in extras for line in lines]
    return project["requires-python"], [*project["dependencies"], *optional]


def _libraries() -> Iterator[Finding]:
    """Each library with its version, against the bounds in pyproject.toml."""
    from packaging.requirements import Requirement

    extras: dict[str, list[str]] = {}
    _, lines = _requirements()
    for line in lines:
        wanted = Requirement(line)
        if wanted.name == "skyeye":  # a group of extras that names others
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            version = None
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            if version is None and "extra" in str(wanted.marker):
                group = re.search(r"extra == ['\"]([^'\"]+)", str(wanted.marker))
                extras.setdefault(group[1] if group else "?", []).append(wanted.name)
            continue
        install = f'pip install "{wanted.name}{wanted.specifier}"'
        if version is None:
            yield Finding(wanted.name, "is not installed", install)
        elif not wanted.specifier.contains(version, prereleases=True):
            yield Finding(wanted.name, f"{version} is not {wanted.specifier}", install)
        else:
            yield Finding(wanted.name, f"{version} ({wanted.specifier})")
    for group, names in extras.items():
        yield Finding(f"optional: {group}", f"not installed: {', '.join(names)}")


def _devices() -> Iterator[Finding]:
    driver = shutil.which("nvidia-smi")
    import torch

    if not torch.cuda.is_available():
        remedy = None
        if driver and torch.version.cuda is None:
            remedy = "this is a CPU build of torch beside an NVIDIA driver: run scripts/setup.sh again on this machine"
        elif driver:
            remedy = "the driver does not serve this torch: see nvidia-smi, CUDA_VISIBLE_DEVICES and torch.version.cuda"
        yield Finding("CUDA", f"none; torch {torch.__version__} computes on the CPU", remedy)
        return
    yield Finding("CUDA", f"{torch.version.cuda}, {torch.cuda.device_count()} GPU(s)")
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        half = about.major >= 8  # Ampere; older GPUs only imitate bfloat16
        found = f"{about.name}, {about.total_memory / 2**30:.1f} GiB, bfloat16 {'yes' if half else 'no'}"
        yield Finding(f"GPU {index}", found, None if half else "use run.precision=fp16")


def _processes(seconds: float) -> Iterator[Finding]:
    """NCCL, and two processes that really exchange numbers over gloo."""
    import torch

    several = torch.cuda.is_available() and torch.cuda.device_count() > 1
    nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available()
    remedy = "install a CUDA build of torch for Linux" if several and not nccl else None
    yield Finding("NCCL", "available" if nccl else "not available", remedy)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _ALL_REDUCE]
        started = [
            subprocess.Popen(
                [*command, str(rank), f"{folder}/store"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        problem = None
        try:
            for process in started:
                _, errors = process.communicate(timeout=max(0.1, began + seconds - time.monotonic()))
                if process.returncode:
                    problem = problem or (errors.strip().splitlines() or ["no reason given"])[-1][:200]
        except subprocess.TimeoutExpired:
            problem = f"no answer within {seconds:g} s"
        finally:
            for process in started:
                process.kill()
                process.wait()
                process.stderr.close()
    took = f"2 processes exchanged numbers in {time.monotonic() - began:.1f} s, their start included"
    remedy = (
        "let the host's name resolve (/etc/hosts), and set GLOO_SOCKET_IFNAME to an interface of `ip link`, or unset it"
    )
    yield Finding("gloo", problem or took, remedy if problem else None)


def _tools() -> Iterator[Finding]:
    compiler = os.environ.get("CXX", "g++")
    yield _tool(
        compiler,
        [compiler, "--version"],
        "install g++: run.compile needs it on a CPU; without it the layers are not compiled",
    )
    yield _tool("java", ["java", "-version"], "install a Java runtime (8 or newer); without it METEOR is left out")


def _tool(name: str, command: list[str], remedy: str) -> Finding:
    """The first line that a program says about itself."""
    if shutil.which(command[0]) is None:
        return Finding(name, "is not installed, or not in PATH", remedy)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, f"does not run: {type(error).__name__}", remedy)
    said = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode:
        return Finding(name, f"does not run: {said[0][:200] if said else f'exit code {done.returncode}'}", remedy)
    return Finding(name, said[0][:200] if said else "runs")


def _disk(out: Path) -> Iterator[Finding]:
    """Free space, permission and sequential speed in the folder of the runs, or in what there is of its path."""
    folder = out.absolute()
    while not folder.is_dir() and folder != folder.parent:
        if folder.exists():
            yield Finding("disk", f"{folder} is a file", "name a folder with --out")
            return
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    short = f"less than {FREE_DISK / 2**30:.0f} GiB: free some, or set output_dir to another disk"
    yield Finding("disk space", f"{free / 2**30:.1f} GiB free in {folder}", short if free < FREE_DISK else None)
    try:
        wrote, read = _speed(folder, min(PROBE, free // 4))
    except OSError as error:
        remedy = "write to another folder (output_dir), or mend its permissions"
        yield Finding("disk", f"{folder} cannot be written to: {error.strerror or error}", remedy)
        return
    slow = "checkpoints will take long: choose a local disk, or a larger run.checkpoint_every"
    found = f"{wrote / 1e6:.0f} MB/s written, {read / 1e6:.0f} MB/s read"
    yield Finding("disk speed", found, slow if wrote < DISK_SPEED else None)


def _speed(folder: Path, size: int) -> tuple[float, float]:
    """Bytes a second of a file written through to the disk and read back past the cache."""
    block = os.urandom(2**20)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".skyeye-doctor-") as file:
        began = time.perf_counter()
        for _ in range(max(1, size // len(block))):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written, total = time.perf_counter() - began, file.tell()
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        began = time.perf_counter()
        while file.read(2**20):
            pass
        return total / written, total / (time.perf_counter() - began)


def _limits() -> Iterator[Finding]:
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total
        remedy = "loader workers pass tensors through it: docker run --shm-size=8g, or run.workers=0"
        yield Finding("shared memory", f"{size / 2**30:.1f} GiB", remedy if size < SHARED_MEMORY else None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    few = soft != resource.RLIM_INFINITY and soft < OPEN_FILES
    most = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    if not few:
        remedy = None
    elif most > soft:
        remedy = f"ulimit -n {most}"
    else:
        remedy = "have the hard limit raised (limits.conf, docker run --ulimit nofile=65536), or use fewer run.workers"
    yield Finding("open files", allowed, remedy)


def _wandb() -> Iterator[Finding]:
    """The mode alone: keys are not read, only whether there is any."""
    mode = os.environ.get("WANDB_MODE")
    known = ("online", "offline", "disabled", "dryrun", "run", "shared")
    if mode is not None and mode not in known:
        yield Finding("wandb", f"WANDB_MODE={mode} is not known", "set WANDB_MODE to online, offline or disabled")
        return
    login = "WANDB_API_KEY" in os.environ or (Path.home() / ".netrc").exists()
    found = f"mode {mode or 'as in run.wandb'}, {'a login may be there' if login else 'no login'}"
    wanted = mode in ("online", "run") and not login
    yield Finding("wandb", found, "wandb login, or WANDB_MODE=offline" if wanted else None)
