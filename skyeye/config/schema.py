"""The typed shape of a recipe. One dataclass per YAML section; defaults are the reference's where it has one.

Nothing heavy is imported here: a recipe with a typing mistake is refused before torch is loaded. Rules that types do
not say stand in ``check`` methods, which return sentences instead of raising so that all errors come at once
(see :mod:`skyeye.config.load`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

#: How a part takes part in a stage: not trained, trained through low-rank adapters, or trained itself.
Trainable = Literal["frozen", "lora", "full"]

#: What the weights of a mixture are multiplied with: nothing, or the number of images (see skyeye/data/mixture.py).
Sampling = Literal["ratio", "proportional", "temperature"]


@dataclass
class VisionConfig:
    """Vision tower. ``eva``: the EVA-CLIP layout of the reference; ``timm``: any timm model, by name."""

    architecture: Literal["eva", "timm"] = "eva"
    name: str | None = None  # timm model name, with architecture: timm
    image_size: int = 448
    patch_size: int = 14
    width: int = 1408
    depth: int = 39
    heads: int = 16
    mlp_ratio: float = 4.3637
    stem: Literal["patch", "conv"] = "patch"  # conv: stacked convolutions instead of one, to learn from scratch (ours)
    arguments: dict[str, Any] = field(default_factory=dict)  # further keyword arguments for timm
    weights: str | None = None  # file in the layout of eva_vit_g.pth (or of the timm model)
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def check(self) -> list[str]:
        errors = _below(self, 1, "image_size", "patch_size", "width", "depth", "heads")
        if errors:
            return errors
        if self.architecture == "timm" and not self.name:
            errors.append("name: architecture 'timm' needs the name of a timm model, e.g. vit_base_patch16_clip_224")
        if self.stem == "conv" and self.architecture != "timm":
            errors.append("stem: 'conv' belongs to architecture: timm, with the name of a ViT")
        if self.architecture == "eva" and self.image_size % self.patch_size:
            errors.append(f"image_size: {self.image_size} is not a multiple of patch_size {self.patch_size}")
        if self.architecture == "eva" and self.width % self.heads:
            errors.append(f"heads: width {self.width} is not a multiple of heads {self.heads}")
        return errors


@dataclass
class ProjectorConfig:
    """Alignment layer between tower and language model; ``join_tokens`` neighbours in raster order become one token."""

    type: Literal["linear", "mlp"] = "linear"
    join_tokens: int = 4

    def check(self) -> list[str]:
        return _below(self, 1, "join_tokens")


@dataclass
class LanguageConfig:
    """Language model: a Hugging Face directory or hub name, or ``config`` to build one with fresh weights."""

    pretrained: str | None = None
    config: dict[str, Any] | None = None  # e.g. {model_type: llama, hidden_size: 192, ...}
    quantize: Literal["nf4"] | None = None  # QLoRA: the frozen base in 4 bits; needs CUDA and bitsandbytes

    def check(self) -> list[str]:
        if self.quantize and self.pretrained is None:
            return ["quantize: fresh weights have to be trained, in 4 bits they cannot be; give pretrained"]
        if (self.pretrained is None) == (self.config is None):
            return [
                "give either pretrained (a directory or hub name) or config (to start from fresh weights), not both"
            ]
        return []


@dataclass
class TokenizerConfig:
    """A tokenizer file or directory; or, with ``train_vocab_size``, one learnt from the texts of the recipe's data."""

    path: str | None = None  # None: beside the pretrained language model
    train_vocab_size: int | None = None
    box_tokens: bool = False  # <0> .. <100> as single tokens; only for a tokenizer learnt here


@dataclass
class LoraConfig:
    """Low-rank adapters (PEFT) on the language model and, optionally, on the projector."""

    r: int = 64
    alpha: int = 16
    dropout: float = 0.05
    target_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    projector: bool = False
    variant: Literal["lora", "rslora", "dora"] = "lora"  # rslora: alpha / sqrt(r); dora: direction and length of rows


@dataclass
class PromptConfig:
    """How a conversation becomes text; see docs/sequence.md."""

    template: str = "[INST] {} [/INST]"
    end_symbol: str = "</s>"
    pad_token: str = "$$"
    max_txt_len: int = 1024  # tokens of answer (single turn) or of everything after the first prompt
    max_context_len: int = 3800  # tokens of the first prompt
    cut_images: bool = False  # reference: true, max_context_len cuts the prompt wherever it falls, images included
    # reference: prompts of evaluation and chat open with two <s> and have one space before [/INST], where training rows
    # have one <s> and two spaces. training: as in training rows.
    evaluation_layout: Literal["reference", "training"] = "reference"

    def check(self) -> list[str]:
        errors = _below(self, 1, "max_txt_len", "max_context_len")
        return errors if self.template.count("{}") == 1 else [*errors, "template: must hold {} exactly once"]


@dataclass
class ModelConfig:
    vision: VisionConfig = field(default_factory=VisionConfig)
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    checkpoint: str | None = None  # start from this skyeye or reference checkpoint


@dataclass
class SourceConfig:
    """One data set: its annotation format, where the annotations are and where the images are."""

    format: str
    path: str
    images: str | None = None  # folder of the images; None: beside the annotations
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


@dataclass
class OptimizerConfig:
    """AdamW and the schedule of the reference: linear from warmup_lr to lr, then cosine to min_lr."""

    lr: float = 1e-5
    min_lr: float = 1e-6
    warmup_lr: float = 1e-6
    warmup_steps: int = 1000
    steps_per_epoch: int | None = None  # reference: its epoch's; a warm-up longer than that then starts again at each
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.05
    clip_norm: float | None = 1.0  # reference: null
    part_lr: dict[str, float] = field(default_factory=dict)  # factors, e.g. {projector: 2.0, vision: 0.1}; else 1
    fused: bool = False  # one kernel for all of AdamW; equal within rounding
    ema_decay: float | None = None  # a moving average of what is trained, exported beside it as <stage>-ema

    def check(self) -> list[str]:
        errors = _below(self, 0, "lr", "min_lr", "warmup_lr", "warmup_steps", "weight_decay")
        errors += [f"betas: {b} is not in 0 <= beta < 1" for b in self.betas if not 0 <= b < 1]
        if self.clip_norm is not None and self.clip_norm <= 0:
            errors.append(f"clip_norm: {self.clip_norm} is not above 0 (null: no clipping)")
        for part, factor in self.part_lr.items():
            if part not in ("vision", "projector", "language"):
                errors.append(f"part_lr: {part!r} is no part; there are vision, projector, language")
            elif factor <= 0:
                errors.append(f"part_lr: {factor} for {part} is not above 0 (a part that rests is frozen in its stage)")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            errors.append(f"ema_decay: {self.ema_decay} is not between 0 and 1")
        return errors


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
    projector: Trainable = "full"
    language: Trainable = "lora"
    groups_per_step: int = 8  # images in the global batch, over all processes and packs
    branches: int = 16  # questions asked of an image in one visit, at most
    accumulation: int = 1  # packs of a process in a step; run.tokens_per_pack may ask for more
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss_normalisation: Literal["global_tokens", "micro_batch"] = "global_tokens"  # reference: micro_batch
    answers: bool = True  # False: only the alignment is learnt, without the language model's forward pass
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    number_smoothing: float = 0.0  # standard deviation, in 1/100 of the image, of soft targets for box numbers
    number_noise: float = 0.0  # share of the box numbers in answers that are read as random ones
    feature_cache: str | None = None  # folder of what the frozen tower sees, computed once (docs/feature_cache.md)
    feature_dtype: Literal["bf16", "fp16", "fp32"] = "bf16"  # of the rows of a cache

    def check(self) -> list[str]:
        errors = _below(self, 1, "groups_per_step", "branches", "accumulation")
        errors += _below(self, 0, "number_smoothing")
        if (self.steps is None) == (self.epochs is None):
            errors.append(
                "give either steps or epochs (the other as null), not " + ("none" if self.steps is None else "both")
            )
        elif self.steps is not None:
            errors += _below(self, 1, "steps")
        elif self.epochs <= 0:
            errors.append(f"epochs: {self.epochs} is not above 0")
        if self.temperature <= 0:
            errors.append(f"temperature: {self.temperature} is not above 0")
        if self.temperature != 1 and self.sampling != "temperature":
            errors.append(f"temperature: {self.temperature} is only used with sampling: temperature")
        if errors:
            return errors
        if self.vision == "lora":
            errors.append("vision: the tower has no adapters here; use frozen or full")
        if self.vision == "full" and self.feature_cache is not None:
            errors.append(
                "feature_cache: holds what a frozen tower sees, and this stage trains the tower (vision: full), so that"
                " what it sees changes with every step; leave feature_cache out, or set vision: frozen"
            )
        if not self.answers and not (self.alignment.words or self.alignment.boxes):
            errors.append("answers: without answers and without alignment.words or alignment.boxes nothing is learnt")
        if not self.answers and self.language != "frozen":
            errors.append(
                f"language: {self.language}, but without answers the language model does not run and nothing in it is"
                " learnt; use frozen"
            )
        if not 0 <= self.number_noise <= 1:
            errors.append(f"number_noise: {self.number_noise} is not a share between 0 and 1")
        if self.steps is not None and self.optimizer.warmup_steps >= self.steps:
            errors.append(f"optimizer.warmup_steps: {self.optimizer.warmup_steps} leaves nothing of {self.steps} steps")
        return errors


@dataclass
class GuardsConfig:
    """When a run helps itself, and when it stops (docs/engine.md). All values are ours."""

    window: int = 50  # last good steps that a loss and a gradient norm are compared with, once there are as many
    loss_factor: float | None = 10.0  # above this x their median a step changes no weight; null: only if not finite
    norm_factor: float | None = 50.0
    patience: int = 10  # such steps in a row after which the run goes back to an earlier state
    lead: int = 20  # steps before the first of them that are passed over with them
    max_rewinds: int = 3  # how often it goes back in a stage before it stops
    max_broken: float = 0.01  # share of samples that cannot be used (of at least 1000) above which it stops
    hang_seconds: float | None = 1800.0  # time without a finished step after which all stacks are written down
    hang_abort: bool = False  # end the process then

    def check(self) -> list[str]:
        errors = _below(self, 1, "window", "patience") + _below(self, 0, "lead", "max_rewinds")
        for name in ("loss_factor", "norm_factor"):
            if getattr(self, name) is not None and getattr(self, name) <= 1:
                errors.append(f"{name}: {getattr(self, name)} is not above 1 (null: no limit)")
        if not 0 <= self.max_broken <= 1:
            errors.append(f"max_broken: {self.max_broken} is not a share between 0 and 1")
        if self.hang_seconds is not None and self.hang_seconds <= 0:
            errors.append(f"hang_seconds: {self.hang_seconds} is not above 0 (null: nothing is watched)")
        return errors


@dataclass
class RunConfig:
    """How the run is carried out; nothing here changes what is computed, except precision."""

    dir: str | None = None  # folder of the run, as it is; null: output_dir, with -quick behind it for a quick run
    strategy: Literal["single", "ddp", "zero1", "zero2", "zero3"] = "single"
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    frozen: Literal["fp32", "bf16", "fp16"] = "fp32"  # of tower and language model where no stage trains them in full
    tf32: bool = False  # CUDA: float32 products with 10 bits of mantissa
    compile: bool = False  # torch.compile for the layers of the language model
    gradient_checkpointing: bool = False
    share_prefix: bool = True  # questions about an image share its tokens; reference: false, a row for every question
    tokens_per_pack: int | None = None  # longest micro-batch in tokens; a step is divided into as many as it needs
    workers: int = 2  # processes that read and decode images, per training process
    log_every: int = 10
    checkpoint_every: int = 500  # steps
    timeout_minutes: float = 30.0  # a process that waits longer for the others ends with an error
    keep_states: int = 2  # resume states kept, the newest
    keep_every: int | None = None  # those at multiples of this many steps are kept besides
    keep_best: bool = False  # the one with the lowest loss (median of the last guards.window steps) is kept besides
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    wandb: Literal["off", "offline", "online"] = "off"
    wandb_project: str = "skyeye"
    tensorboard: bool = False  # event files in the run folder's tensorboard/, under the names that wandb gets
    peak_tflops: float | None = None  # of one device, for MFU; None: by the GPU's name, in half precision
    samples_every: int | None = None  # steps after which the model answers a few fixed questions; None: never
    samples: int = 8  # how many of them
    samples_source: str | None = None  # a source that no stage draws from; None: the stage's training data

    def check(self) -> list[str]:
        errors = _below(self, 0, "workers") + _below(self, 1, "log_every", "checkpoint_every", "keep_states")
        if self.timeout_minutes <= 0:
            errors.append(f"timeout_minutes: {self.timeout_minutes} is not above 0")
        if self.frozen not in ("fp32", self.precision):
            errors.append(f"frozen: {self.frozen} weights are computed with in that precision; set precision, too")
        given = [name for name in ("tokens_per_pack", "samples_every", "keep_every") if getattr(self, name) is not None]
        errors += _below(self, 1, "samples", *given)
        if self.peak_tflops is not None and self.peak_tflops <= 0:
            errors.append(f"peak_tflops: {self.peak_tflops} is not above 0")
        if self.samples_every is not None and self.strategy == "zero3":
            errors.append(
                "samples_every: under zero3 no process holds the whole model, and an answer whose length differs by a"
                " rounding would leave the others waiting for ever; leave samples_every out, or use zero2"
            )
        if self.samples_source is not None and self.samples_every is None:
            errors.append("samples_source: is only used with samples_every")
        return errors


@dataclass
class EvalConfig:
    """Which held-out scores ``skyeye eval`` gives for this recipe when it is not told otherwise, and which are taken
    while it is trained."""

    benchmarks: list[str] = field(default_factory=list)
    data_root: str | None = None
    limit: int | None = None  # samples per benchmark
    batch_size: int = 32
    prompts: dict[str, str] = field(default_factory=dict)  # benchmark -> what is asked instead of its own prompt
    missing_images: Literal["leave-out", "stop"] = "leave-out"
    every: int | None = None  # steps after which the benchmarks are scored in training; None: never
    every_limit: int | None = 200  # samples per benchmark then
    choose: str | None = None  # benchmark/metric: the best model by it is exported as <stage>-best

    def check(self) -> list[str]:
        given = [name for name in ("limit", "every", "every_limit") if getattr(self, name) is not None]
        errors = _below(self, 1, "batch_size", *given)
        if self.every is not None and (not self.benchmarks or self.data_root is None):
            errors.append("every: needs benchmarks and data_root")
        if self.choose is not None and self.every is None:
            errors.append("choose: needs every: without scores in training there is nothing to choose by")
        if self.choose is not None and "/" not in self.choose:
            errors.append(f"choose: {self.choose!r} is not benchmark/metric, e.g. world.vqa/accuracy")
        return errors


@dataclass
class Recipe:
    """A whole run: model, data, stages, run, eval. One YAML file."""

    name: str
    output_dir: str
    stages: list[StageConfig]
    sources: dict[str, SourceConfig]
    seed: int = 42
    model: ModelConfig = field(default_factory=ModelConfig)
    run: RunConfig = field(default_factory=RunConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    @property
    def folder(self) -> str:
        """Folder of the run."""
        return self.run.dir or self.output_dir

    def check(self) -> list[str]:
        errors = []
        names = [stage.name for stage in self.stages]
        for name in sorted({name for name in names if names.count(name) > 1}):
            errors.append(f"stages: the name {name!r} is used more than once")
        for i, stage in enumerate(self.stages):
            for j, entry in enumerate(stage.mixture):
                if entry.source not in self.sources:
                    known = ", ".join(self.sources) or "none"
                    errors.append(f"stages[{i}].mixture[{j}].source: no source {entry.source!r}; known: {known}")
            if self.run.samples_source in [entry.source for entry in stage.mixture]:
                errors.append(
                    f"run.samples_source: {self.run.samples_source!r} is trained on in stages[{i}]; name a held-out"
                    " source, or leave it out: the samples are then called training data"
                )
            if stage.language == "full" and self.model.language.quantize:
                errors.append(f"stages[{i}].language: weights in 4 bits (model.language.quantize) cannot be trained")
            if stage.language == "full" and self.model.lora.r > 0 and self.model.lora.variant == "dora":
                errors.append(
                    f"stages[{i}].language: DoRA keeps the lengths of the weights it began with, and a stage that"
                    " trains the weights changes them; use lora or rslora"
                )
            if stage.optimizer.ema_decay is not None and f"{stage.name}-ema" in names:
                errors.append(f"stages: {stage.name}-ema is the name of the averages that {stage.name} exports")
            if self.eval.choose is not None and f"{stage.name}-best" in names:
                errors.append(f"stages: {stage.name}-best is the name of the best model that {stage.name} exports")
            if stage.alignment.any() and not self.run.share_prefix:
                errors.append(f"stages[{i}].alignment: is learnt on shared prefixes only; set run.share_prefix: true")
        if self.eval.every is not None and self.run.strategy == "zero3":
            errors.append(
                "eval.every: under zero3 no process holds the whole model, and an answer whose length differs by a"
                " rounding would leave the others waiting for ever; leave eval.every out, or use zero2"
            )
        if self.model.language.quantize and len(self.stages) > 1:
            errors.append(
                "model.language.quantize: the next stage would begin with the exported weights, which are not in 4"
                " bits; give each stage a recipe of its own"
            )
        if self.run.strategy == "zero3":
            for key, used in (
                ("model.language.quantize", self.model.language.quantize is not None),
                ("model.lora.variant", self.model.lora.r > 0 and self.model.lora.variant == "dora"),
            ):
                if used:
                    errors.append(f"{key}: reads whole weights, which zero3 shares out; use zero2 or ddp")
        if self.run.samples_source is not None and self.run.samples_source not in self.sources:
            known = ", ".join(self.sources) or "none"
            errors.append(f"run.samples_source: no source {self.run.samples_source!r}; known: {known}")
        return errors


def _below(section: object, least: float, *names: str) -> list[str]:
    """A sentence for each named field of a section that is below ``least``."""
    values = {name: getattr(section, name) for name in names}
    return [f"{name}: {value} is below {least}" for name, value in values.items() if value < least]
