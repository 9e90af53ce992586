"""Several nodes on one machine: rendezvous over loopback, a worker that dies, the batch system's signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from processes import HANGS, free_port

from skyeye.config.schema import RunConfig, StageConfig
from skyeye.errors import SkyEyeError
from skyeye.train.parallel import distributed
from skyeye.train.run import train

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder with the launchers and an environment that is there already."""
    folder = tmp_path / "project"
    (folder / "scripts").mkdir(parents=True)
    for name in ("multinode.sh", "slurm.sh", "threads.sh"):
        (folder / "scripts" / name).write_text((SCRIPTS / name).read_text())
    (folder / "scripts" / "setup.sh").write_text("exit 0\n")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def _losses(folder: Path) -> dict[tuple[str, int], float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {(line["stage"], line["step"]): line["loss"] for line in lines}


def _environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **changes}


def _wait_for_step(folder: Path, step: int, processes: list[subprocess.Popen]) -> None:
    until = time.monotonic() + HANGS
    while time.monotonic() < until and all(process.poll() is None for process in processes):
        log = folder / "log.jsonl"
        if log.is_file() and len(log.read_text().splitlines()) >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"no step {step}: {[process.poll() for process in processes]}")


def _output(process: subprocess.Popen) -> str:
    try:
        return process.communicate(timeout=HANGS)[0]
    finally:
        process.terminate()  # a launcher that is killed leaves its processes behind


def _workers(folder: Path) -> list[int]:
    """Ids of the training processes whose command names ``folder``, by rank."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if entry.name.isdecimal() and b"skyeye.train" in words and f"output_dir={folder}".encode() in words:
                variables = (entry / "environ").read_bytes().split(b"\0")
                rank = [int(line[5:]) for line in variables if line.startswith(b"RANK=")]
                found |= {rank[0]: int(entry.name)} if rank else {}
        except (OSError, ProcessLookupError):
            continue
    return [found[rank] for rank in sorted(found)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the worker in /proc")
def test_two_nodes_compute_the_run_of_one_process_though_a_worker_dies(recipe, project, tmp_path):
    train(recipe(), [f"output_dir={tmp_path / 'single'}"])
    folder, endpoint = tmp_path / "nodes", f"127.0.0.1:{free_port()}"
    path = recipe()
    settings = [str(path), f"output_dir={folder}", "run.strategy=ddp", "run.checkpoint_every=1"]
    nodes = [
        subprocess.Popen(
            ["bash", str(project / "scripts" / "multinode.sh"), "2", str(node), endpoint, *settings],
            env=_environment(NPROC="1", MAX_RESTARTS="1", LOCAL_ADDR="127.0.0.1", SHUTDOWN_SECONDS="5"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for node in (0, 1)
    ]
    try:
        _wait_for_step(folder, 2, nodes)
        os.kill(_workers(folder)[1], signal.SIGKILL)
    finally:
        said = [_output(node) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said[0][-3000:] + said[1][-3000:]
    assert "going on after step" in said[0] + said[1]
    losses = _losses(folder)
    assert losses.keys() == _losses(tmp_path / "single").keys()
    assert losses == pytest.approx(_losses(tmp_path / "single"), abs=2e-5)


SRUN = """#!/usr/bin/env bash
# Stands for srun: starts the tasks, hands signals to them, ends with their highest code.
asked=()
while [[ $1 == --* ]]; do asked+=("$1"); shift; done
if [ -n "${ASKED:-}" ]; then echo "${asked[@]}" >>"$ASKED"; fi
tasks=()
for ((rank = 0; rank < SLURM_NTASKS; rank++)); do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" & tasks+=($!)
done
trap 'again=1; kill -USR1 "${tasks[@]}"' USR1
highest=0
for task in "${tasks[@]}"; do
    again=1
    while [ $again = 1 ]; do again=0 code=0; wait "$task" || code=$?; done
    if [ $code -gt $highest ]; then highest=$code; fi
done
exit $highest
"""
SCONTROL = """#!/usr/bin/env bash
if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >>"$REQUEUED"; fi
"""


@pytest.fixture
def batch_system(project, tmp_path):
    """A function that starts ``slurm.sh`` as SLURM would, with stand-ins for srun and scontrol."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)

    def start(*arguments: str, tasks: int = 2, **changes: str) -> subprocess.Popen:
        environment = _environment(
            PATH=f"{tools}:{os.environ['PATH']}",
            SLURM_SUBMIT_DIR=str(project),
            SLURM_JOB_ID=str(free_port() - 20000 & 0x3FFF),
            SLURM_JOB_NODELIST="node",
            SLURM_NTASKS=str(tasks),
            REQUEUED=str(tmp_path / "requeued"),
            **changes,
        )
        command = ["bash", str(project / "scripts" / "slurm.sh"), *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start


@pytest.mark.slow
def test_a_job_that_is_told_to_end_saves_is_queued_again_and_goes_on(recipe, batch_system, tmp_path):
    train(recipe(), [f"output_dir={tmp_path / 'single'}"])
    folder = tmp_path / "job"
    settings = [str(recipe()), f"output_dir={folder}", "run.strategy=ddp", "run.checkpoint_every=100"]
    first = batch_system(*settings)
    try:
        _wait_for_step(folder, 2, [first])
        os.kill(first.pid, signal.SIGUSR1)
    finally:
        said = _output(first)
    assert first.returncode == 0, said
    assert "requeue" in (tmp_path / "requeued").read_text(), said
    second = batch_system(*settings)
    said = _output(second)
    assert second.returncode == 0 and "going on after step" in said, said
    assert _losses(folder) == pytest.approx(_losses(tmp_path / "single"), abs=2e-5)
    assert len((tmp_path / "requeued").read_text().splitlines()) == 1


@pytest.mark.parametrize(("code", "starts"), [(0, 1), (2, 1), (7, 3)])
def test_processes_that_die_are_started_again_and_mistakes_are_not(batch_system, project, tmp_path, code, starts):
    count = tmp_path / "starts"
    _fake_python(project, count, code)
    job = batch_system("some.yaml", "seed=3", tasks=1, MAX_RESTARTS="2")
    said = _output(job)
    assert job.returncode == code, said
    assert count.read_text().splitlines() == ["0 -m skyeye.train some.yaml seed=3 --resume"] * starts
    assert not (tmp_path / "requeued").exists()


def test_every_process_gets_the_cores_that_the_job_asks_for(batch_system, project, tmp_path):
    """srun does not take them over from the job since SLURM 22.05."""
    _fake_python(project, tmp_path / "starts", 0)
    for changes in ({"SLURM_CPUS_PER_TASK": "8"}, {}):
        job = batch_system("some.yaml", tasks=1, ASKED=str(tmp_path / "asked"), **changes)
        said = _output(job)
        assert job.returncode == 0, said
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert "--cpus-per-task=8" in first.split()
    assert "--cpus-per-task" not in second  # a job that does not ask for any


def _fake_python(project: Path, count: Path, code: int) -> None:
    """Stands for training: a line in ``count`` for each start, and an exit code."""
    fake = project / ".venv" / "bin"
    fake.parent.unlink()
    fake.mkdir(parents=True)
    (fake / "python").write_text(f'#!/usr/bin/env bash\necho "$RANK $@" >>{count}\nexit {code}\n')
    (fake / "python").chmod(0o755)


# Read by bash before slurm.sh itself: it gets USR1 at a moment that no other process could hit.
MOMENTS = {
    "while it is set up": 'bash() { command bash "$@"; builtin kill -USR1 $$; }',
    "while it is set up, which ends too": "bash() { builtin kill -USR1 $$; return 143; }",
    "between two starts": 'wait() { builtin wait "$@"; set -- $?; unset -f wait; builtin kill -USR1 $$; return $1; }',
    "before srun is known": """trap '[[ $BASH_COMMAND != step=* ]] || builtin kill -USR1 $$' DEBUG""",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_job_that_is_told_to_end_while_nothing_runs_is_queued_again(batch_system, project, tmp_path, moment):
    _fake_python(project, tmp_path / "starts", 7)
    early = tmp_path / "early.sh"
    early.write_text(f"case $0 in *slurm.sh) {MOMENTS[moment]} ;; esac\n")
    job = batch_system("some.yaml", tasks=1, BASH_ENV=str(early))
    said = _output(job)
    assert job.returncode == 0, said
    assert "requeue" in (tmp_path / "requeued").read_text(), said
    starts = (tmp_path / "starts").read_text().splitlines() if (tmp_path / "starts").exists() else []
    if moment == "before srun is known":  # it may get there or not
        assert len(starts) <= 1, said
    else:
        assert len(starts) == (moment == "between two starts"), said


def test_a_set_up_that_fails_ends_the_job(batch_system, project, tmp_path):
    (project / "scripts" / "setup.sh").write_text("exit 3\n")
    job = batch_system("some.yaml", tasks=1)
    _output(job)
    assert job.returncode == 3 and not (tmp_path / "requeued").exists()


def test_a_launcher_that_comes_too_late_finds_the_run_finished(recipe, tmp_path, capsys):
    path = recipe()
    trained = train(path)
    modified = (trained / "model.safetensors").stat().st_mtime_ns
    assert train(path, resume=True) == trained
    assert "finished" in capsys.readouterr().out
    assert (trained / "model.safetensors").stat().st_mtime_ns == modified


class _Gathering:
    """Stands for an Accelerator of processes that hold the given rows."""

    device = torch.device("cpu")

    def __init__(self, rows):
        self.rows, self.num_processes = torch.tensor(rows, dtype=torch.float64), len(rows)

    def gather(self, own):
        return self.rows


def test_processes_that_would_begin_at_different_places_are_refused():
    distributed.check_position(_Gathering([[1, 4], [1, 4]]), (1, 4))
    with pytest.raises(SkyEyeError, match=r"rank 0: \[1, 4\]; rank 1: \[0, 0\]") as refused:
        distributed.check_position(_Gathering([[1, 4], [0, 0]]), (1, 4))
    assert "share" in str(refused.value)


def test_the_time_limit_and_tf32_of_the_recipe_reach_torch(monkeypatch):
    class Asked(Exception):
        pass

    def accelerator(**arguments):
        (handler,) = arguments["kwargs_handlers"]
        raise Asked(handler.timeout.total_seconds())

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(distributed, "Accelerator", accelerator)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    flags = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = False
    stage = StageConfig(name="s", mixture=[], steps=1)
    try:
        with pytest.raises(Asked, match="90.0"):
            distributed.make_accelerator(RunConfig(precision="bf16", timeout_minutes=1.5), stage, 1)
        assert [flag.allow_tf32 for flag in flags] == [False, False]
        with pytest.raises(Asked, match="1800.0"):
            distributed.make_accelerator(RunConfig(precision="bf16", tf32=True), stage, 1)
        assert [flag.allow_tf32 for flag in flags] == [True, True]
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value
