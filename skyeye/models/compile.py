"""``run.compile``: the layers of the language model through torch.compile, where a compiler is at hand."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

#: Compilers that TorchInductor looks for on a CPU.
_CPU_COMPILERS = ("g++", "clang++", "c++")


def missing_compiler(device: torch.device) -> str | None:
    """What torch.compile lacks for a device, in words; None when nothing is missing."""
    if device.type == "cuda":
        return None if find_spec("triton") else "the package triton is not installed"
    found = any(shutil.which(name) for name in _CPU_COMPILERS)
    return None if found else f"there is no C++ compiler ({', '.join(_CPU_COMPILERS)})"


def compile_layers(language_model: nn.Module, device: torch.device) -> str:
    """Compile every layer of a language model, in place; names of parameters stay.

    Layers are compiled one by one because what is around them changes with every step (the list of groups in a pack),
    and with dynamic sizes because packs differ in length. All layers share their compiled code. Attention over shared
    prefixes depends on the lengths in a pack and is left as it is, between two compiled parts of a layer.

    Returns:
        A sentence that says what was done; without a compiler the model stays as it is, and computes the same.
    """
    missing = missing_compiler(device)
    if missing is not None:
        return f"run.compile: {missing}; the layers are not compiled, the run goes on without"
    layers = [part for part in language_model.modules() if isinstance(part, GradientCheckpointingLayer)]
    for layer in layers:
        layer.compile(dynamic=True)
    return f"run.compile: {len(layers)} layers of the language model are compiled in the first steps"
