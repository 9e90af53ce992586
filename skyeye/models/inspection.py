"""What is inside a checkpoint, told without loading it into a model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from skyeye.errors import SkyEyeError
from skyeye.models.adapters import ADAPTERS, plain_name
from skyeye.models.converters.minigpt_v2 import adapter_rank, projection, reference_name
from skyeye.models.language import is_adapter
from skyeye.models.weights import (
    load_torch_file,
    named_tensors,
    open_safetensors,
    read_json_object,
    read_tensors,
    refuse_other_content,
)

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "U8": "uint8",
    "I8": "int8",
}


def inspect_checkpoint(path: str | Path) -> dict[str, Any]:
    """Describe a directory of this project, a ``.safetensors`` file or a reference ``.pth`` file.

    Returns:
        ``path``; ``tensors``: groups of equally named, shaped and typed tensors (``name`` with ``*`` for layer numbers,
        ``count``, ``shape``, ``dtype``); ``values``: numbers in all; ``made_for``: the parts that the projection fits;
        ``rank`` of the adapters; ``adapters``: layer -> norm of what its adapter adds, without the scale; and what the
        file tells about its training: ``config``, ``epoch``, ``optimizer`` (reference), ``manifest`` and ``recipe``
        (ours).

    Raises:
        SkyEyeError: there is nothing there, or it is no checkpoint.
    """
    path = Path(path)
    if not path.exists():
        raise SkyEyeError("no such checkpoint", where=str(path), remedy="check the path")
    about: dict[str, Any] = {}
    if path.is_dir():
        files = sorted([*path.glob("model*.safetensors"), *path.glob(ADAPTERS)])
        published = [] if files else sorted(path.glob("*.bin"))  # of another project
        if not files and not published:
            raise SkyEyeError("no model.safetensors in this folder", where=str(path), remedy="give a checkpoint folder")
        headers = [header for file in files for header in _safetensors_header(file)]
        headers += [header for file in published for header in _headers(read_tensors(file))]
        for entry, name in (("config", "config.json"), ("manifest", "manifest.json")):
            if (path / name).is_file():
                about[entry] = read_json_object(path / name)
        if (path / "recipe.yaml").is_file():
            about["recipe"] = (path / "recipe.yaml").read_text(encoding="utf-8", errors="replace")
    elif path.suffix == ".safetensors":
        headers = _safetensors_header(path)
    else:
        refuse_other_content(path)
        content = load_torch_file(path)
        tensors = named_tensors(content, path)
        headers = _headers(tensors)
        about = {entry: content[entry] for entry in ("config", "epoch") if entry in content}
        if (optimizer := _optimizer(content.get("optimizer"))) is not None:
            about["optimizer"] = optimizer
    named = [(reference_name(name), shape) for name, shape, _ in headers]
    adapters = adapter_norms(path) if any(is_adapter(name) for name, _ in named) else {}
    return {
        "path": str(path),
        "tensors": _grouped(headers),
        "values": sum(math.prod(shape) for _, shape, _ in headers),
        "made_for": projection(named),
        "rank": adapter_rank(named),
        "adapters": adapters,
        **about,
    }


def describe_checkpoint(path: str | Path) -> str:
    """The text of ``skyeye checkpoint show``."""
    found = inspect_checkpoint(path)
    lines = [found["path"], ""]
    for group in found["tensors"]:
        shape = " x ".join(map(str, group["shape"])) or "scalar"
        lines.append(f"  {group['count']:>4} of  {group['name']}  [{shape}]  {group['dtype']}")
    count = sum(group["count"] for group in found["tensors"])
    lines += ["", f"{count} tensors, {found['values']:,} values"]
    if found["made_for"]:
        lines.append(f"projection made for {found['made_for']}")
    if found["rank"]:
        lines.append(f"LoRA adapters of rank {found['rank']}")
    lines += _adapters(found["adapters"])
    for entry in ("epoch", "manifest", "config", "optimizer"):
        if entry in found:
            lines += ["", f"{entry}:", json.dumps(found[entry], indent=2, default=str)]
    if "recipe" in found:
        lines += ["", "recipe:", found["recipe"].rstrip()]
    return "\n".join(lines)


def adapter_norms(path: Path) -> dict[str, float]:
    """Layer -> Frobenius norm of B A, what its adapter adds to its weight but for the scale."""
    files = sorted([*path.glob("model*.safetensors"), *path.glob(ADAPTERS)]) if path.is_dir() else [path]
    tensors = {plain_name(n): t for file in files for n, t in read_tensors(file).items() if is_adapter(n)}
    norms = {}
    for name, up in tensors.items():
        layer = name.removesuffix(".lora_B")
        if layer != name and f"{layer}.lora_A" in tensors:
            down = tensors[f"{layer}.lora_A"].float()
            # from the products of rows, which are as small as the rank
            squared = ((up.float().T @ up.float()) * (down @ down.T)).sum()
            norms[layer] = squared.clamp(min=0).sqrt().item() if up.any() else 0.0
    return norms


def _adapters(norms: dict[str, float]) -> list[str]:
    if not norms:
        return []
    zero = [layer for layer, norm in norms.items() if norm == 0]
    kinds: dict[str, list[float]] = {}
    for layer, norm in norms.items():
        kinds.setdefault(re.sub(r"\.\d+\.", ".*.", layer), []).append(norm)
    lines = ["", "norm of what each adapter adds (B A, without the scale), layer by layer:"]
    lines += [f"  {kind}: {' '.join(f'{norm:.3g}' for norm in each)}" for kind, each in kinds.items()]
    if zero:
        lines.append(f"{len(zero)} of {len(norms)} adapters are ZERO and change nothing, e.g. {zero[0]}")
    return lines


def _optimizer(state: object) -> list[dict[str, Any]] | None:
    """What an optimiser's state says of each group of parameters; None where it is none."""
    groups = state.get("param_groups") if isinstance(state, dict) else None
    if not isinstance(groups, list):
        return None
    if not all(isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups):
        return None
    return [{**{k: v for k, v in g.items() if k != "params"}, "tensors": len(g["params"])} for g in groups]


def _headers(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, tuple[int, ...], str]]:
    return [(n, tuple(t.shape), str(t.dtype).removeprefix("torch.")) for n, t in tensors.items()]


def _safetensors_header(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    refuse_other_content(path)
    with open_safetensors(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return [
            (name, tuple(part.get_shape()), _DTYPES.get(part.get_dtype(), part.get_dtype()))
            for name, part in slices.items()
        ]


def _grouped(headers: list[tuple[str, tuple[int, ...], str]]) -> list[dict[str, Any]]:
    groups: dict[tuple, int] = {}
    for name, shape, dtype in headers:
        key = (re.sub(r"\.\d+\.", ".*.", name), shape, dtype)
        groups[key] = groups.get(key, 0) + 1
    return [{"name": n, "count": count, "shape": list(s), "dtype": d} for (n, s, d), count in groups.items()]
