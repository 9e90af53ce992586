"""From a picture to the pixels of every tower.

Every tower has its own size, mean and standard deviation. Of one tower the pixels are (3, S, S). Of several they lie
end to end in one vector, in the order of the towers: what holds pixels (batches, caches, workers, ``generate``) need
not know how many towers there are, and each tower gets exactly what it would get alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from skyeye.config.schema import VisionConfig
from skyeye.data.images.load import to_pixels
from skyeye.data.images.square import Resize

#: Red, green and blue: of one tower, or of each.
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class PixelTransform:
    """The pixel transform of a model; a list in ``size`` means several towers, with as many ``mean``, ``std`` and
    ``resize``."""

    size: int | Sequence[int]
    mean: Colour | Sequence[Colour]
    std: Colour | Sequence[Colour]
    resize: Resize | Sequence[Resize] = "stretch"

    @classmethod
    def of(cls, vision: VisionConfig | Sequence[VisionConfig]) -> PixelTransform:
        """That of ``model.vision`` of a recipe."""
        if isinstance(vision, VisionConfig):
            return cls(vision.image_size, vision.mean, vision.std, vision.resize)
        sizes, means, stds = ([getattr(v, name) for v in vision] for name in ("image_size", "mean", "std"))
        return cls(sizes, means, stds, [v.resize for v in vision])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the pixels of one picture: (3, S, S); for several towers (values,)."""
        return pixel_shape(self.size)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Pixels float32 of :attr:`shape` of an RGB picture; see :func:`skyeye.data.images.load.to_pixels`."""
        if isinstance(self.size, int):
            return to_pixels(image, self.size, self.mean, self.std, self.resize)
        ways = [self.resize] * len(self.size) if isinstance(self.resize, str) else self.resize
        towers = zip(self.size, self.mean, self.std, ways, strict=True)
        return torch.cat([to_pixels(image, *tower).flatten() for tower in towers])


def pixel_shape(sizes: int | Sequence[int]) -> tuple[int, ...]:
    """Shape of the pixels of one picture, given the image size of the tower or of each of several."""
    return (3, sizes, sizes) if isinstance(sizes, int) else (sum(3 * size * size for size in sizes),)


def split_pixels(pixel_values: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
    """(N, values) pixels of several towers -> for each tower (N, 3, S, S)."""
    parts = pixel_values.split([math.prod(pixel_shape(size)) for size in sizes], dim=1)
    return [part.unflatten(1, pixel_shape(size)) for part, size in zip(parts, sizes, strict=True)]
