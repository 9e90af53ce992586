"""Whether this checkout computes the same numbers as an earlier commit, to the last bit, on this machine.

    .venv/bin/python scripts/same_numbers.py 0fca84b            # about ten minutes on two cores

Both trees draw the same scenes, train ``configs/tiny.yaml --quick`` and a short ``configs/parity.yaml`` (with shared
prefixes and with separate rows), and evaluate the first. Compared are the loss, gradient norm and learning rate of
every logged step, every exported tensor, every answer and ``scores.json``. Names that have changed since are mapped by
:data:`RENAMED`; nothing else is. Floating-point sums differ between processors, so both sides are run here, never read
from a file. What a side has finished is kept in the folder (``--work``), so the comparison can be repeated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]

#: Old names -> new ones, in keys, file names and tensor names: (pattern, replacement), applied in this order.
RENAMED: tuple[tuple[str, str], ...] = (
    ("value_on_deaf_items", "value_on_shuffled_phrases_items"),
    ("deaf items", "shuffled_phrases items"),
    (r"\.blind\.jsonl", ".shuffled_images.jsonl"),
    (r"\.deaf\.jsonl", ".shuffled_phrases.jsonl"),
    (r"/blind$", "/shuffled_images"),
    (r"/deaf$", "/shuffled_phrases"),
    (r"/left out", "/skipped"),
    ('^"leave-out"$', '"skip"'),
    (r"\bworld\.(scene|vqa|refer|grounding|identify|caption|frames)\b", r"synth.\1"),
    (r"runs/demo/world", "runs/demo/scenes"),
)

#: Facts about a run that are no numbers of it.
PASSING = {"date", "seconds", "versions", "fingerprint", "checkpoint", "processes", "command", "device"}

#: ``{scenes}``: the folder that the recipes of a side name.
STEPS = (
    ("scenes", ["data", "synth", "runs/demo/{scenes}", "--images", "300", "--held-out", "30", "--seed", "1"]),
    ("more scenes", ["data", "synth", "runs/parity/{scenes}", "--images", "200", "--held-out", "40", "--seed", "1"]),
    ("tiny", ["train", "{configs}/tiny.yaml", "--quick"]),
    ("parity", ["train", "{configs}/parity.yaml", "stages.train.steps=40", "run.log_every=1", "run.dir=runs/shared"]),
    (
        "parity, separate rows",
        [
            *["train", "{configs}/parity.yaml", "stages.train.steps=40", "run.log_every=1", "run.dir=runs/separate"],
            "run.share_prefix=false",
        ],
    ),
    (
        "evaluation",
        [
            *["eval", "runs/demo-quick/checkpoints/conversation", "--data-root", "runs/demo/{scenes}"],
            *["--out", "runs/demo-quick/scored", "--limit", "40"],
        ],
    ),
)


def main() -> int:
    """Run both sides and print ``identical`` or every difference; the exit code is 0 or 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="the earlier commit")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "same_numbers", help="folder for both sides")
    parser.add_argument("--again", action="store_true", help="run this checkout's side anew")
    options = parser.parse_args()
    work = options.work.resolve()
    base = work / f"base-{options.commit}"
    run_side(unpacked(options.commit, base / "tree"), base / "side")
    head = work / "head"
    if options.again and head.exists():
        shutil.rmtree(head)
    run_side(ROOT, head)
    before, now = numbers(base / "side", RENAMED), numbers(head)
    differences = compare(before, now)
    for line in differences[:40]:
        print(line)
    print(f"{len(now)} values compared: {'identical' if not differences else f'{len(differences)} differences'}")
    return 1 if differences else 0


def unpacked(commit: str, folder: Path) -> Path:
    """The tree of a commit, as files in a folder."""
    if not folder.exists():
        folder.mkdir(parents=True)
        archive = folder.with_suffix(".tar")
        subprocess.run(["git", "archive", "-o", str(archive), commit], cwd=ROOT, check=True)
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()
    return folder


def run_side(tree: Path, folder: Path) -> None:
    """Every step of one side, each once."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = "scenes" if "runs/demo/scenes" in (tree / "configs" / "tiny.yaml").read_text() else "world"
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    for name, words in STEPS:
        done = folder / f"{name}.done"
        if done.exists():
            continue
        print(f"{tree}: {name}", flush=True)
        command = [
            sys.executable,
            "-m",
            "skyeye",
            *(word.format(configs=tree / "configs", scenes=scenes) for word in words),
        ]
        with open(folder / f"{name}.log", "w", encoding="utf-8") as log:
            code = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT).returncode
        if code:
            raise SystemExit(f"{name} of {tree} ended with {code}; see {folder / name}.log")
        done.touch()


def numbers(folder: Path, renamed: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
    """What one side computed: a name for each number or text -> its value, written out exactly."""
    found = {}
    for path in sorted((folder / "runs").rglob("*")):
        name = str(path.relative_to(folder / "runs"))
        if path.name == "log.jsonl":
            found |= {f"{name} {key}": value for key, value in _log(path)}
        elif path.suffix == ".safetensors" and "checkpoints" in path.parts:
            found |= {f"{name} {key}": value for key, value in _tensors(path)}
        elif path.parent.name == "predictions" and path.suffix == ".jsonl":
            found |= {f"{name} {key}": value for key, value in _rows(path)}
        elif path.name == "scores.json":
            found |= {f"{name} {key}": value for key, value in _leaves(json.loads(path.read_text(encoding="utf-8")))}
    return {_mapped(name, renamed): _mapped(value, renamed) for name, value in found.items()}


def compare(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """A line for each number that differs or that only one side has."""
    lines = []
    for name in sorted(ours.keys() | theirs.keys()):
        before, now = ours.get(name, "not there"), theirs.get(name, "not there")
        if before != now:
            lines.append(f"{name}: {before[:200]} -> {now[:200]}")
    return lines


def _log(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        for key in ("loss", "gradient_norm", "learning_rate"):
            yield f"{entry.get('stage')} {entry.get('step')} {key}", repr(entry.get(key))


def _tensors(path: Path) -> Iterator[tuple[str, str]]:
    with safe_open(path, "pt") as file:
        for name in file.keys():
            tensor = file.get_tensor(name).contiguous()
            content = hashlib.sha256(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
            yield name, f"{tensor.dtype} {tuple(tensor.shape)} {content.hexdigest()[:16]}"


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield str(row.get("id")), json.dumps([row.get(key) for key in ("question", "answer", "correct", "truth")])


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            if key not in PASSING:
                yield from _leaves(inner, f"{path}/{key}")
    else:
        yield path, json.dumps(value)


def _mapped(text: str, renamed: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in renamed:
        text = re.sub(pattern, replacement, text)
    return text


if __name__ == "__main__":
    sys.exit(main())
