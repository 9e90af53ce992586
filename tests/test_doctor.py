"""The doctor on this machine and on machines that lack something, which are imitated by PATH and environment."""

from __future__ import annotations

import json
import resource
from importlib import metadata
from types import SimpleNamespace

import pytest

from skyeye import doctor
from skyeye.cli import main
from skyeye.doctor import Finding, examine, format_text
from skyeye.errors import SkyEyeError


def _of(findings, subject: str) -> Finding:
    return next(finding for finding in findings if finding.subject == subject)


def test_two_processes_meet_over_gloo():
    assert _of(doctor._processes(120.0), "gloo").remedy is None


def test_an_interface_that_does_not_exist_is_found_by_trying(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nosuchcard0")
    finding = _of(doctor._processes(120.0), "gloo")
    assert "GLOO_SOCKET_IFNAME" in finding.remedy


def test_processes_that_do_not_answer_are_given_up(monkeypatch):
    monkeypatch.setattr(doctor, "_ALL_REDUCE", "import time; time.sleep(600)")
    finding = _of(doctor._processes(0.5), "gloo")
    assert finding.found == "no answer within 0.5 s" and finding.remedy


def test_missing_programs_are_named_with_what_they_are_for(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = list(doctor._tools())
    assert "run.compile" in _of(findings, "g++").remedy and "METEOR" in _of(findings, "java").remedy


def test_a_program_that_fails_is_no_program(monkeypatch, tmp_path):
    for name, body in (("g++", "echo made-up 1.0"), ("java", "echo no runtime >&2; exit 3")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    findings = list(doctor._tools())
    assert _of(findings, "g++") == Finding("g++", "made-up 1.0")
    assert _of(findings, "java").found == "does not run: no runtime" and _of(findings, "java").remedy


def test_libraries_are_held_against_the_bounds(monkeypatch):
    versions = {"torch": "1.13.1", "numpy": "2.0.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    wanted = ["torch<2.14,>=2.6", "numpy>=1.26", "timm>=1.0.20", 'fastapi>=0.115; extra == "web"']
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(metadata, "version", version)
    findings = list(doctor._libraries())
    assert _of(findings, "torch").remedy == 'pip install "torch<2.14,>=2.6"'
    assert _of(findings, "numpy").remedy is None
    assert _of(findings, "timm").found == "is not installed"
    assert _of(findings, "optional: web") == Finding("optional: web", "not installed: fastapi")


def test_run_from_its_folder_it_reads_what_is_wanted_there(monkeypatch, tmp_path):
    def not_installed(name: str):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "metadata", not_installed)
    monkeypatch.setattr(doctor.metadata, "version", {"torch": "2.7.0"}.get)
    (tmp_path / "skyeye").mkdir()
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "skyeye" / "doctor.py"))
    with pytest.raises(SkyEyeError, match=r"neither installed nor run from its folder.*pip install -e"):
        list(doctor._libraries())
    wanted = 'dependencies = ["torch>=2.6"]\noptional-dependencies = {geo = ["rasterio>=1.4"], test = ["skyeye[geo]"]}'
    (tmp_path / "pyproject.toml").write_text(f'[project]\nrequires-python = ">=3.11"\n{wanted}\n')
    assert list(doctor._libraries()) == [
        Finding("torch", "2.7.0 (>=2.6)"),
        Finding("optional: geo", "not installed: rasterio"),
    ]
    assert next(iter(doctor._python())).remedy is None


def test_the_installed_libraries_are_within_the_bounds():
    assert not [finding for finding in doctor._libraries() if finding.remedy]


def test_a_folder_that_is_not_there_yet_is_not_made(tmp_path):
    out = tmp_path / "runs" / "deep"
    findings = list(doctor._disk(out))
    assert not out.parent.exists() and not list(tmp_path.iterdir())
    assert "MB/s written" in _of(findings, "disk speed").found
    assert str(tmp_path) in _of(findings, "disk space").found


def test_a_folder_that_refuses_to_be_written_to(monkeypatch, tmp_path):
    def refuse(folder, size):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "_speed", refuse)
    finding = _of(doctor._disk(tmp_path), "disk")
    assert "Permission denied" in finding.found and "output_dir" in finding.remedy
    (tmp_path / "file").write_text("")
    assert "is a file" in _of(doctor._disk(tmp_path / "file" / "runs"), "disk").found


def test_a_full_and_a_slow_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**30, total=2**30))
    monkeypatch.setattr(doctor, "_speed", lambda folder, size: (2e6, 3e6))
    findings = list(doctor._disk(tmp_path))
    assert _of(findings, "disk space").remedy and _of(findings, "disk speed").remedy
    assert _of(findings, "disk speed").found == "2 MB/s written, 3 MB/s read"


def test_small_limits(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(total=64 * 2**20))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 20000))
    findings = {finding.subject: finding for finding in doctor._limits()}
    assert findings["open files"].remedy == "ulimit -n 20000"
    assert "--shm-size" in findings.get("shared memory", Finding("", "", "--shm-size")).remedy
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 1024))
    assert "hard limit" in _of(doctor._limits(), "open files").remedy


@pytest.mark.parametrize(
    ("mode", "key", "problem"),
    [("offline", None, False), ("online", None, True), ("online", "x", False), ("of", "x", True)],
)
def test_the_mode_of_wandb(monkeypatch, tmp_path, mode, key, problem):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    finding = _of(doctor._wandb(), "wandb")
    assert bool(finding.remedy) == problem and (not key or f"{key} " not in finding.found)


def test_what_breaks_an_examination_does_not_break_the_report(monkeypatch, tmp_path):
    def broken():
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(doctor, "_devices", broken)
    monkeypatch.setattr(doctor, "_processes", lambda seconds: iter([Finding("gloo", "fine")]))
    findings = examine(tmp_path)
    assert "ImportError: libcudart.so.12" in _of(findings, "devices").found
    assert {"python", "gloo", "java", "disk speed", "wandb"} <= {finding.subject for finding in findings}
    assert format_text(findings).splitlines()[-1].endswith("problem(s)")


def test_the_command_says_sound_or_what_to_do(monkeypatch, tmp_path, capsys):
    for name in ("_devices", "_tools", "_limits", "_wandb", "_libraries", "_python"):
        monkeypatch.setattr(doctor, name, lambda name=name: iter([Finding(name, "fine")]))
    monkeypatch.setattr(doctor, "_processes", lambda seconds: iter([Finding("gloo", "fine")]))
    monkeypatch.setattr(doctor, "_disk", lambda out: iter([Finding("disk", str(out))]))
    file = tmp_path / "doctor.json"
    assert main(["doctor", "--out", str(tmp_path / "x"), "--json", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-2] == "sound"
    assert {"subject": "gloo", "found": "fine", "remedy": None} in json.loads(file.read_text())
    monkeypatch.setattr(doctor, "_limits", lambda: iter([Finding("open files", "256", "ulimit -n 65536")]))
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "! open files" in said and "    ulimit -n 65536" in said and said.endswith("1 problem(s)\n")
