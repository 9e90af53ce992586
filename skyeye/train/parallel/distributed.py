"""Processes and strategies: one Accelerator per stage, with the settings that make it equal to a single process."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DeepSpeedPlugin, InitProcessGroupKwargs
from torch.distributed import PrefixStore, Store, rendezvous

from skyeye.config.schema import RunConfig, StageConfig
from skyeye.errors import SkyEyeError
from skyeye.launch import rank, world_size

#: DeepSpeed's default for ``reduce_bucket_size``, in numbers.
LARGEST_BUCKET = 500_000_000

#: Seconds between the end of the process group and that of the interpreter: without them, ZeRO-3 over gloo aborts there
#: now and then.
EXIT_PAUSE = 0.5

#: DeepSpeed's extension for sums while it answers on a CPU, which training never asks for. It would compile it in every
#: new environment, for most of a minute and with a C++ compiler, and load it at the start of every run.
_FOR_INFERENCE = "deepspeed_shm_comm"

MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def print_once(message: str) -> None:
    """Print a line in process 0 alone."""
    if rank() == 0:
        print(message, flush=True)


def make_accelerator(run: RunConfig, stage: StageConfig, trained: int) -> Accelerator:
    """The Accelerator for one stage under ``run.strategy``.

    Args:
        trained: numbers that the stage trains (:func:`trained_values`).

    Raises:
        SkyEyeError: when the device does not compute in the precision of the run, or when the processes did not find
            each other (Accelerate on a CPU can train each rank on its own without a word, hence the sum over ones).
    """
    AcceleratorState._reset_state()  # DeepSpeed takes its settings once per Accelerator, and each stage has its own
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if run.tf32 and torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    patience = timedelta(minutes=run.timeout_minutes)
    launched = "RANK" in os.environ  # naming a backend without a launcher would make Accelerate look for a group
    with _meeting(run.timeout_minutes):
        accelerator = Accelerator(
            mixed_precision="no" if run.strategy.startswith("zero") else MIXED_PRECISION[run.precision],
            deepspeed_plugin=_deepspeed_plugin(run, stage, trained) if run.strategy.startswith("zero") else None,
            step_scheduler_with_optimizer=False,
            # On a CPU Accelerate synchronises DDP only when told cpu=True, and DeepSpeed only when not told.
            cpu=run.strategy == "ddp" and not torch.cuda.is_available(),
            kwargs_handlers=[InitProcessGroupKwargs(backend=backend, timeout=patience)] if launched else None,
        )
    if run.precision == "fp16" and run.strategy in ("single", "ddp") and accelerator.scaler is None:
        raise SkyEyeError(
            "fp16 needs a GPU under single and ddp: here Accelerate would compute in float32 without a word",
            where="run.precision",
            remedy="use bf16 or fp32",
        )
    present = int(accelerator.reduce(torch.ones((), device=accelerator.device), "sum"))
    if present != world_size():
        raise SkyEyeError(
            f"{world_size()} processes were started but {present} take part in the training",
            remedy="the processes could not form a group; look at MASTER_ADDR, MASTER_PORT and the backend " + backend,
        )
    return accelerator


#: What :func:`decided_by_first` met at.
_stores: list[Store] = []


def decided_by_first(decide: Callable[[], str], minutes: float) -> str:
    """What process 0 decides, on all processes; before there is an Accelerator.

    Args:
        minutes: how long the processes wait for each other.

    Raises:
        SkyEyeError: the processes did not find each other.
    """
    if world_size() == 1:
        return decide()
    patience = timedelta(minutes=minutes)
    with _meeting(minutes):
        store, _, _ = next(rendezvous("env://", timeout=patience))
        # The process group meets at the same server. Process 0 has it, and it ends with the last of its stores: before
        # the others have read what was decided, or while they connect to it for their group.
        _stores.append(store)
        store = PrefixStore("decided", store)
        if rank() == 0:
            store.set("value", decide())
        return store.get("value").decode()


@contextmanager
def _meeting(minutes: float) -> Iterator[None]:
    """Say where the processes wait for each other, and in one line that they did not meet."""
    size, place = world_size(), ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
    if size > 1 and not torch.distributed.is_initialized():
        print_once(f"waiting at {place} for {size} processes, {minutes:g} minutes at most")
    try:
        yield
    except torch.distributed.DistError as error:
        reason = str(error).strip().splitlines()[0]
        came = re.search(r"(\d+)/\d+ clients joined", reason)
        if "EADDRINUSE" in reason:
            what = f"the port of {place} is in use"
            remedy = "another run or what is left of one has it: end that, or choose another MASTER_PORT"
        else:
            count = f"{came[1]} of {size} processes" if came else f"not all of {size} processes"
            what = f"rank {rank()} waited at {place}: {count} came ({reason[:160]})"
            remedy = (
                "see that WORLD_SIZE processes were started, that each has this MASTER_ADDR and MASTER_PORT and reaches"
                " it, and that no RANK, WORLD_SIZE is left over from another start"
            )
        raise SkyEyeError(what, where="MASTER_ADDR", remedy=remedy) from error


def check_position(accelerator: Accelerator, position: Sequence[int]) -> None:
    """Refuse to go on where the processes read different positions from the run folder: nodes have to share it.

    Args:
        position: where this process would begin: numbers such as stage and step.

    Raises:
        SkyEyeError: on all processes alike.
    """
    own = torch.tensor(list(position), dtype=torch.float64, device=accelerator.device)
    if accelerator.num_processes == 1:
        return
    everyone = accelerator.gather(own[None])
    if bool((everyone != everyone[0]).any()):
        listed = "; ".join(f"rank {n}: {[int(v) for v in row]}" for n, row in enumerate(everyone.tolist()))
        raise SkyEyeError(
            f"the processes would begin at different places (stage, step): {listed}",
            where="output_dir",
            remedy="put output_dir on a file system that all nodes share",
        )


def check_strategy(run: RunConfig, stage: StageConfig) -> None:
    """Refuse a strategy or a batch that the number of processes cannot carry out.

    Raises:
        SkyEyeError: the strategy or the batch does not fit the processes, or they are not told where to meet.
    """
    processes = world_size()
    if run.strategy == "single" and processes > 1:
        raise SkyEyeError(
            f"strategy 'single' was started with {processes} processes",
            where="run.strategy",
            remedy="use run.strategy=ddp or zero2, or start without torchrun",
        )
    if run.strategy != "single" and "RANK" not in os.environ:
        raise SkyEyeError(
            f"strategy '{run.strategy}' needs a launcher",
            where="run.strategy",
            remedy="torchrun --nproc_per_node=N -m skyeye.train RECIPE; or run.strategy=single for one process",
        )
    if absent := [n for n in ("MASTER_ADDR", "MASTER_PORT") if "RANK" in os.environ and not os.environ.get(n)]:
        raise SkyEyeError(
            f"RANK is set, but not {' and '.join(absent)}, where the processes meet",
            where="environment",
            remedy="torchrun and scripts/slurm.sh set them; unset RANK and WORLD_SIZE to run one process",
        )
    parts = processes * stage.accumulation
    if stage.images_per_step * stage.questions_per_image < parts:
        raise SkyEyeError(
            f"{stage.images_per_step} groups of at most {stage.questions_per_image} samples do not fill {processes} "
            f"processes x {stage.accumulation} packs",
            where=f"stages.{stage.name}.images_per_step",
            remedy=f"use at least {parts}, so that each pack has a group",
        )


def trained_values(model: torch.nn.Module) -> int:
    """How many numbers the trained parameters of a model have, also where ZeRO-3 of an earlier stage holds them."""
    return sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters() if p.requires_grad)


def deepspeed_settings(run: RunConfig, stage: StageConfig, strategy: str, trained: int) -> dict:
    """DeepSpeed's configuration for a ZeRO strategy, whichever ``run.strategy`` is.

    Mixed precision goes through torch's autocast so that trained weights stay float32. The buckets that gradients are
    sent through are allocated in full, so they are as large as ``trained`` numbers need and not larger.
    """
    level = int(strategy[-1])
    config: dict = {
        # Both are names only: the loop says which micro-batch is the last of a step, and divides the loss itself.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": stage.optimizer.clip_norm or 0.0,
        "zero_optimization": {
            "stage": level,
            "overlap_comm": torch.cuda.is_available() and has_overlap(level, trained),
            "reduce_bucket_size": min(trained, LARGEST_BUCKET),
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }
    if level == 3:
        config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True
    if run.precision != "fp32":
        dtype = "bfloat16" if run.precision == "bf16" else "float16"
        config["torch_autocast"] = {"enabled": True, "dtype": dtype}
    return config


def has_overlap(level: int, trained: int) -> bool:
    """Whether ZeRO has something to compute while it sends. With a single bucket of gradients it has not, and the
    second one that it allocates then takes memory only; ZeRO-3 fetches weights in the same way."""
    return level == 3 or trained > LARGEST_BUCKET


def _deepspeed_plugin(run: RunConfig, stage: StageConfig, trained: int) -> DeepSpeedPlugin:
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__[_FOR_INFERENCE] = False
    config = deepspeed_settings(run, stage, run.strategy, trained)
    # Accelerate would otherwise partition models while they are built (zero.Init), before their weights are loaded.
    return DeepSpeedPlugin(hf_ds_config=config, zero3_init_flag=False)


def shut_down(accelerator: Accelerator) -> None:
    """Leave the process group in step, :data:`EXIT_PAUSE` before the interpreter may end."""
    if accelerator.num_processes > 1:
        accelerator.wait_for_everyone()
        torch.distributed.destroy_process_group()
        time.sleep(EXIT_PAUSE)
