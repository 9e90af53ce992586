"""``run``: how a recipe is carried out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from skyeye.config.paths import PathText
from skyeye.config.schema.guards import GuardsConfig


@dataclass
class RunConfig:
    """How the run is carried out; nothing here changes what is computed, except precision."""

    dir: PathText | None = None  # folder of the run, as it is; null: output_dir, with -quick behind it for a quick run
    strategy: Literal["single", "ddp", "zero1", "zero2", "zero3"] = "single"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: what computes fastest here; kept by the run
    frozen: Literal["fp32", "bf16", "fp16"] = "fp32"  # of tower and language model where no stage trains them in full
    tf32: bool = False  # CUDA: float32 products with 10 bits of mantissa
    compile: bool = False  # torch.compile for the layers of the language model
    gradient_checkpointing: bool = False
    share_prefix: bool = True  # questions about an image share its tokens; reference: false, a row for every question
    tokens_per_pack: int | None = None  # longest micro-batch in tokens; a step is divided into as many as it needs
    source_index: bool = True  # what was read of large annotation files is kept in ~/.cache/skyeye for the next start
    workers: int = 2  # processes that read and decode images, per training process
    log_every: int = 10
    checkpoint_every: int = 500  # steps
    timeout_minutes: float = 30.0  # a process that waits longer for the others ends with an error
    export: Literal["adapters", "merged"] = "adapters"  # merged: a frozen base that lies elsewhere is written, too
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
