"""How an evaluation asks, whatever it asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skyeye.eval.benchmarks.base import MissingImages
from skyeye.generation.answerers import ServerSettings
from skyeye.generation.opening import Opening


@dataclass(frozen=True)
class EvalSettings:
    """How benchmarks are asked.

    Attributes:
        limit: records per benchmark at most, drawn with ``seed``; whole scenes where phrases can be shuffled.
        batch_size: changes speed and memory only.
        images: False: the questions are asked without their images, which tells what the words alone answer.
        controls: also ask with shuffled images and shuffled phrases.
        max_new_tokens: longest answer; None: what each benchmark says.
        prompts: benchmark -> what is asked instead of its own prompt.
        recipe_prompts: the same where ``prompts`` say nothing; those of benchmarks that are not asked are skipped.
        missing_images: what becomes of records whose image is missing or broken.
        seed: of the permutations of the controls and of ``limit``.
        opening: how the checkpoint is opened.
        boxes: how a model of the ecosystem writes boxes (:mod:`skyeye.eval.box_families`); None or ``auto``: as its
            first answers tell. A checkpoint of this project knows it.
        server: how a server is asked.
    """

    limit: int | None = None
    batch_size: int = 32
    images: bool = True
    controls: bool = True
    max_new_tokens: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    recipe_prompts: Mapping[str, str] = field(default_factory=dict)
    missing_images: MissingImages = "skip"
    seed: int = 0
    opening: Opening = field(default_factory=Opening)
    boxes: str | None = None
    server: ServerSettings = field(default_factory=ServerSettings)
