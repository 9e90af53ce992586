"""The size that models of Qwen's kind bring an image to: sides that are multiples of a patch, within limits of area."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skyeye.data.geometry.box_text import Size


@dataclass(frozen=True)
class SmartResize:
    """The rule of Qwen2-VL, Qwen2.5-VL and Qwen3-VL; the defaults are those of the published Qwen2.5-VL.

    Attributes:
        factor: both sides become multiples of it: pixels of a patch, times the patches that are merged.
        least, most: pixels that the whole image has then.
    """

    factor: int = 28
    least: int = 3_136
    most: int = 12_845_056

    def __call__(self, size: Size) -> Size:
        """Width and height of an image as the model reads it."""
        width, height = size
        across, down = (round(side / self.factor) * self.factor for side in size)
        if across * down > self.most:
            shrink = math.sqrt(width * height / self.most)
            across, down = (
                max(self.factor, math.floor(side / shrink / self.factor) * self.factor) for side in (width, height)
            )
        elif across * down < self.least:
            grow = math.sqrt(self.least / (width * height))
            across, down = (math.ceil(side * grow / self.factor) * self.factor for side in (width, height))
        return across, down

    def __str__(self) -> str:
        return f"multiples of {self.factor}, {self.least:,} to {self.most:,} pixels in all"
