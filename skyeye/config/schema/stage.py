"""``stages``: which parts learn, from what, for how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skyeye.config.paths import PathText
from skyeye.config.schema.data import MixtureEntry, Sampling
from skyeye.config.schema.optimizer import OptimizerConfig
from skyeye.config.schema.prompt import Style

#: How a part takes part in a stage: not trained, trained through low-rank adapters, or trained itself.
Trainable = Literal["frozen", "lora", "full"]


#: Parameters of the language model by their kind: biases, norms, low-rank adapters.
LanguageKind = Literal["bias", "norm", "lora"]


@dataclass
class AlignmentConfig:
    """Weights of the word-region alignment of a pre-training stage (ours, see docs/training.md). 0 leaves a part out.

    It needs sources whose records know the objects of their image, and gives a model that starts from nothing what
    EVA-CLIP and LLaMA bring to SkyEyeGPT: image tokens that mean words.
    """

    words: float = 0.0  # an image token looks like the words for what it shows
    boxes: float = 0.0  # an image token knows the box of the object it lies in
    phrases: float = 0.0  # the word that names an object in a question knows the object's box
    sharpness: float = 16.0  # factor on the cosine similarity of image tokens and words

    def any(self) -> bool:
        """Whether some part is learnt."""
        return bool(self.words or self.boxes or self.phrases)


@dataclass
class StageConfig:
    """One stage of training: which parts learn, from what, for how long."""

    name: str
    mixture: list[MixtureEntry]
    steps: int | None = None
    epochs: float | None = None  # instead of steps: how often all images of the mixture are drawn
    sampling: Sampling = "ratio"  # reference: ratio
    temperature: float = 1.0  # of sampling: temperature
    vision: Trainable = "frozen"
    projector: Trainable = "full"  # of two towers: both projections and the temperature
    language: Trainable = "lora"
    trainable: list[LanguageKind] | None = None  # of language: lora, what is trained there; null: [lora]
    text: Literal["frozen", "full"] = "frozen"  # the text side of two towers
    images_per_step: int = 8  # images in the global batch, over all processes and packs
    style: Style | None = (
        None  # of the rows that are learnt from; null: model.prompt.style, in which the model is asked
    )
    questions_per_image: int = 16  # questions asked of an image in one visit, at most
    accumulation: int = 1  # packs of a process in a step; run.tokens_per_pack may ask for more
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss_normalisation: Literal["global_tokens", "micro_batch"] = "global_tokens"  # reference: micro_batch
    answers: bool = True  # False: only the alignment is learnt, without the language model's forward pass
    contrastive: float = 0.0  # weight of InfoNCE between images and captions, over the whole batch of a step
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    box_token_smoothing: float = 0.0  # standard deviation, in 1/100 of the image, of soft targets for box numbers
    box_token_noise: float = 0.0  # share of the box numbers in answers that are read as random ones
    feature_cache: PathText | None = None  # folder of what the frozen tower sees, computed once (docs/feature_cache.md)
    feature_dtype: Literal["bf16", "fp16", "fp32"] = "bf16"  # of the rows of a cache
