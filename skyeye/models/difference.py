"""Whether two checkpoints, or two runs, hold the same numbers: bit by bit."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from skyeye.errors import SkyEyeError


def first_difference(a: str | Path, b: str | Path) -> str | None:
    """What differs first between two checkpoint directories, two run folders or two ``.safetensors`` files.

    Of run folders, every exported model is compared, and every resume state that both still keep: which states an
    interrupted run keeps depends on where it was interrupted.

    Returns:
        One sentence; None when all tensors are equal in name, type, shape and every bit.

    Raises:
        SkyEyeError: one of them holds no tensors, or a file cannot be read.
    """
    ours, theirs = _files(Path(a)), _files(Path(b))
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            if Path(name).parts[0] == "states":
                continue
            return f"{name} is only in {a if name in ours else b}"
        found = _difference(ours[name], theirs[name])
        if found:
            return f"{name}: {found}"
    return None


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {"file": path}
    files = {str(file.relative_to(path)): file for file in sorted(path.rglob("*.safetensors"))}
    files = {name: file for name, file in files.items() if not any(part.startswith(".") for part in Path(name).parts)}
    if not files:
        raise SkyEyeError(
            "holds no *.safetensors", where=str(path), remedy="give a run folder or a checkpoint directory"
        )
    return files


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
        raise SkyEyeError(f"cannot be read: {error}", where=f"{a} or {b}", remedy="save it again") from error
    return None


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
