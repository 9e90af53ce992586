"""``sources`` and the mixtures of stages: what is learnt from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from skyeye.config.paths import PathText

#: What the weights of a mixture are multiplied with: nothing, or the number of images (see skyeye/data/mixture.py).
Sampling = Literal["ratio", "proportional", "temperature"]


@dataclass
class SourceConfig:
    """One data set: its annotation format, where the annotations are and where the images are."""

    format: str
    path: PathText
    images: PathText | None = None  # folder of the images; None: beside the annotations
    split: str | None = None  # keep this split only
    options: dict[str, Any] = field(default_factory=dict)  # further arguments of the reader


@dataclass
class MixtureEntry:
    """How often a stage draws from a source, and what it asks there.

    ``tasks`` weights the kinds of questions drawn for an image (None: all of its questions equally). ``start`` and
    ``end`` are fractions of the stage between which the source is drawn from: a curriculum is written with them.
    """

    source: str
    weight: float = 1.0
    tasks: dict[str, float] | None = None
    start: float = 0.0
    end: float = 1.0
