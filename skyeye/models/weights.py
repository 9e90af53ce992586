"""Read tensors from a file and compare them with what a module expects: completely, or with every difference named."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from skyeye.data.file_kind import HEAD, describe_content
from skyeye.data.preflight import other_content
from skyeye.errors import SkyEyeError

#: How many keys of one kind a message lists before it only counts the rest.
_LISTED = 8


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of a ``.safetensors`` file, or of a PyTorch file (of its ``model`` or ``state_dict`` entry, if any).

    Raises:
        SkyEyeError: the file is missing, is not such a file, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise SkyEyeError("no such weights file", where=str(path), remedy="check the path")
    refuse_other_content(path)
    if path.suffix == ".safetensors":
        with open_safetensors(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    return named_tensors(load_torch_file(path), path)


def named_tensors(content: dict, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of what a PyTorch file holds: of its ``model`` or ``state_dict`` entry, if any.

    Raises:
        SkyEyeError: anything but tensors stands there, or under no name.
    """
    for entry in ("model", "state_dict"):
        if isinstance(content.get(entry), dict):
            content = content[entry]
    strangers = [str(k) for k, value in content.items() if not (isinstance(k, str) and isinstance(value, torch.Tensor))]
    if strangers:
        raise SkyEyeError(f"holds entries that are not named tensors: {_some(strangers)}", where=str(path))
    return content


def refuse_other_content(path: Path) -> None:
    """Call a file what it is that is no file of weights, or is cut short.

    Raises:
        SkyEyeError: says what it is.
    """
    try:
        odd = other_content(path)
    except OSError as error:
        odd = f"cannot be read: {error.strerror or error}"
    if odd is not None:
        kind = "safetensors" if path.suffix == ".safetensors" else "PyTorch weights"
        what, _, remedy = odd.partition("; ")
        raise SkyEyeError(f"not a readable {kind} file: it {what}", where=str(path), remedy=remedy or None)


def read_json_object(path: Path) -> dict[str, Any]:
    """What a JSON file beside weights says, such as ``config.json``.

    Raises:
        SkyEyeError: it is missing or unreadable, or holds no JSON object; the message says what it is instead.
    """
    try:
        content = path.read_bytes()
        value = json.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise SkyEyeError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        known = describe_content(content[:HEAD])
        what = f"is no JSON: {error}" if known is None or known[0] in ("JSON", "text") else f"is {known[0]}"
        raise SkyEyeError(what, where=str(path), remedy="copy or export the checkpoint again") from error
    if not isinstance(value, dict):
        remedy = "copy or export the checkpoint again"
        raise SkyEyeError(f"holds a {type(value).__name__}, not settings {{...}}", where=str(path), remedy=remedy)
    return value


@contextmanager
def open_safetensors(path: str | Path) -> Iterator[safe_open]:
    """``safetensors.safe_open`` for PyTorch, with a damaged file told as a :class:`SkyEyeError`."""
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise SkyEyeError(
            f"not a readable safetensors file: {error}", where=str(path), remedy="download or export it again"
        ) from error


def load_torch_file(path: str | Path) -> dict:
    """``torch.load`` of a dictionary, tensors and plain values only, onto the CPU.

    Memory-mapped, unless the file is of the kind that torch wrote before version 1.6, which is no ZIP archive.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise SkyEyeError("no such file", where=str(path), remedy="check the path") from None
    except Exception as error:  # torch raises many types: not a zip file, truncated, pickled code
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise SkyEyeError(
            f"not a readable PyTorch weights file: {reason}",
            where=str(path),
            remedy="only files of tensors and plain values are loaded; download it again if it is cut short",
        ) from error
    if not isinstance(content, dict):
        raise SkyEyeError(f"holds a {type(content).__name__}, not named tensors", where=str(path))
    return content


def differences(expected: Mapping[str, torch.Size], found: Mapping[str, torch.Size]) -> list[str]:
    """Say in words which names are missing, unexpected or mis-shaped; empty when everything fits."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    misshaped = [
        f"{name} is {tuple(found[name])}, expected {tuple(expected[name])}"
        for name in expected
        if name in found and tuple(found[name]) != tuple(expected[name])
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped))
    return [f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds if names]


def shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    """The shape of every tensor, by name."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def equal_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same shape, type and bits."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = (tensor.detach().cpu().contiguous().flatten().view(torch.uint8) for tensor in (one, other))
    return torch.equal(one, other)


def _some(names: list[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f", and {rest} more" if rest > 0 else "")
