"""Whether two checkpoints, or two runs, hold the same numbers: bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from skyeye.errors import SkyEyeError
from skyeye.models.weights import refuse_other_content

#: What the manifest of a resume state says about the optimiser besides its moments.
OPTIMIZER_KEYS = ("optimizer_steps", "scaler")


def first_difference(a: str | Path, b: str | Path) -> str | None:
    """What differs first between two checkpoint directories, two run folders or two ``.safetensors`` files.

    Of run folders, every exported model is compared, the newest resume state (of a finished run that of its last step:
    parameters, AdamW's moments and number of steps), and every older state that both still keep: which of these an
    interrupted run keeps depends on where it was interrupted.

    Returns:
        One sentence; None when all tensors are equal in name, type, shape and every bit.

    Raises:
        SkyEyeError: one of them holds no tensors, or a file cannot be read.
    """
    ours, theirs = _files(Path(a)), _files(Path(b))
    newest = {_newest_state(files) for files in (ours, theirs)}
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            if Path(name).parts[0] == "states" and Path(name).parent not in newest:
                continue
            return f"{name} is only in {a if name in ours else b}"
        compare = _difference if name.endswith(".safetensors") or name == "file" else _manifest_difference
        found = compare(ours[name], theirs[name])
        if found:
            return f"{name}: {found}"
    return None


def _files(path: Path) -> dict[str, Path]:
    """Files with tensors, and the manifests of resume states, by their path inside ``path``."""
    if path.is_file():
        return {"file": path}
    files = {str(file.relative_to(path)): file for file in path.rglob("*.safetensors")}
    if not files:
        raise SkyEyeError(
            "holds no *.safetensors", where=str(path), remedy="give a run folder or a checkpoint directory"
        )
    files |= {str(file.relative_to(path)): file for file in path.glob("states/*/manifest.json")}
    return {name: file for name, file in files.items() if not any(part.startswith(".") for part in Path(name).parts)}


def _newest_state(files: dict[str, Path]) -> Path | None:
    """``states/STAGE-STEP`` that was written last; None without states."""
    manifests = {Path(name).parent: _read(file) for name, file in files.items() if name.endswith("manifest.json")}
    return max(manifests, key=lambda state: manifests[state]["serial"], default=None)


def _read(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        return {key: manifest[key] for key in ("serial", *OPTIMIZER_KEYS)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SkyEyeError(
            f"is no manifest of a resume state: {type(error).__name__}: {error}",
            where=str(file),
            remedy=f"remove {file.parent}: a run can go on from the state before it",
        ) from error


def _manifest_difference(a: Path, b: Path) -> str | None:
    ours, theirs = _read(a), _read(b)
    return next((f"{key} differs" for key in OPTIMIZER_KEYS if ours[key] != theirs[key]), None)


def _difference(a: Path, b: Path) -> str | None:
    try:
        with safe_open(a, "pt") as left, safe_open(b, "pt") as right:
            names, others = set(left.keys()), set(right.keys())
            if names != others:
                name = min(names ^ others)
                return f"{name} is only in {a if name in names else b}"
            for name in sorted(names):
                x, y = left.get_tensor(name), right.get_tensor(name)
                if x.dtype != y.dtype or x.shape != y.shape:
                    return f"{name} is {_kind(x)} and {_kind(y)}"
                # as bytes: NaN equals itself, and -0.0 is not 0.0
                if not torch.equal(*(t.contiguous().reshape(-1).view(torch.uint8) for t in (x, y))):
                    apart = (x.double() - y.double()).abs().max().item() if x.is_floating_point() else "some"
                    return f"{name} differs, by {apart} at most"
    except (OSError, SafetensorError) as error:
        for path in (a, b):
            refuse_other_content(path)  # says which, and what it is
        raise SkyEyeError(f"cannot be read: {error}", where=f"{a} or {b}", remedy="save it again") from error
    return None


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
