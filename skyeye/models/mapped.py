"""Tensors mapped from their files, and put into a model one by one: no tensor is in memory twice.

A tensor that is wanted as its file holds it stays a mapped one: its pages are read when they are needed, and shared by
all processes of a machine. Any other is converted, and the pages of the original are given back at once.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import nn

from skyeye.errors import SkyEyeError
from skyeye.models.weights import open_safetensors, read_tensors, refuse_other_content

_DONTNEED = 4  # of madvise(2), on Linux and macOS alike

#: A model whose parameters have shapes and no memory, and whose buffers (rotary frequencies) are real.
without_weights = init_empty_weights


def map_safetensors(paths: list[Path]) -> dict[str, torch.Tensor]:
    """The tensors of ``.safetensors`` files by name, mapped: nothing is read yet.

    Raises:
        SkyEyeError: a file is no such file or is cut short, or a name stands in two files.
    """
    tensors: dict[str, torch.Tensor] = {}
    for path in paths:
        refuse_other_content(path)
        with open_safetensors(path) as file:
            for name in file.keys():
                if name in tensors:
                    raise SkyEyeError(f"{name} stands in another file of this folder, too", where=str(path))
                tensors[name] = file.get_tensor(name)
    return tensors


def folder_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a folder as transformers writes it, mapped: of ``*.safetensors``, else of ``pytorch_model*.bin``;
    without rotary frequencies, which are constants.

    Raises:
        SkyEyeError: it holds no weights, or a file is damaged.
    """
    files = sorted(folder.glob("*.safetensors"))
    tensors = map_safetensors(files)
    for file in [] if files else sorted(folder.glob("pytorch_model*.bin")):
        found = read_tensors(file)
        if twice := next((name for name in found if name in tensors), None):
            raise SkyEyeError(f"{twice} stands in another file of this folder, too", where=str(file))
        tensors |= found
    if not tensors:
        raise SkyEyeError("holds no weights", where=str(folder), remedy="download the model again")
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("rotary_emb.inv_freq")}


def put_tensor(
    module: nn.Module, name: str, tensor: torch.Tensor, dtype: torch.dtype | None, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Put a tensor in the place of the parameter or buffer of this name.

    Args:
        dtype: precision of a floating-point tensor; None: as it is.

    Returns:
        What the module holds now: the tensor itself where nothing had to be converted.
    """
    owner_name, _, leaf = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    value = tensor.to(device=device, dtype=dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype)
    if leaf in owner._parameters:
        before = owner._parameters[leaf]
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=before is not None and before.requires_grad)
    else:
        owner._buffers[leaf] = value
    return value


def give_back_heap() -> None:
    """Let the system have back what is free between allocations that stay.

    Where large tensors that stay are made from larger ones that do not, the C library keeps the room of those: after
    some layers it holds several times what is in use. Only glibc has such a call, and needs it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def give_back_pages(tensor: torch.Tensor) -> None:
    """Let the system have the memory of a mapped tensor back; it is read from its file again when it is needed.

    Only for a tensor that nobody reads any more, or that is mapped from a file and unchanged.
    """
    if tensor.device.type != "cpu" or sys.platform not in ("linux", "darwin"):
        return
    first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (tensor.data_ptr() + tensor.numel() * tensor.element_size()) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _DONTNEED)
