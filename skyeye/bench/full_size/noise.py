"""Random weights that cost nothing to draw: one block of noise, repeated; and safetensors files written by pieces."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from skyeye.data.files import whole_file

#: Numbers in a block: prime, so that no two rows of a matrix are the same part of it.
_BLOCK = 4_194_301


class Noise:
    """A stream of normal fp16 numbers of deviation 0.02, without end."""

    def __init__(self, seed: int = 0):
        drawn = np.random.default_rng(seed).standard_normal(_BLOCK, dtype=np.float32)
        self._block, self._place = (0.02 * drawn).astype(np.float16), 0

    def pieces(self, count: int) -> Iterator[np.ndarray]:
        """The next ``count`` numbers, in pieces."""
        while count:
            piece = self._block[self._place : self._place + count]
            self._place = (self._place + len(piece)) % _BLOCK
            count -= len(piece)
            yield piece

    def tensor(self, name: str, shape: torch.Size, dtype: torch.dtype = torch.float16) -> torch.Tensor:
        """A tensor of this name: noise, but for scales of norms, which are one, and what is added there, zero."""
        numbers = np.concatenate(list(self.pieces(math.prod(shape)))) if _constant(name) is None else None
        if numbers is None:
            return torch.full(shape, _constant(name), dtype=dtype)
        return torch.from_numpy(numbers).view(shape).to(dtype)

    def write(self, path: Path, shapes: Mapping[str, torch.Size]) -> int:
        """Write a safetensors file of fp16 tensors, of which never more than a block is in memory.

        Returns:
            The bytes of its tensors.
        """
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in shapes.items():
            begin, end = end, end + 2 * math.prod(shape)
            header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)  # the data begin at a multiple of eight
        with whole_file(path) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name, shape in shapes.items():
                value, count = _constant(name), math.prod(shape)
                for piece in self.pieces(count) if value is None else [np.full(count, value, np.float16)]:
                    file.write(piece.tobytes())
        return end


def _constant(name: str) -> float | None:
    """The value of all numbers of a tensor that is no noise."""
    if "norm" not in name:
        return None
    return 0.0 if name.endswith("bias") else 1.0
