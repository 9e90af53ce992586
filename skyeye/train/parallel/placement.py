"""Where weights go when a run or a stage begins: once through the memory of a node, not once for each process."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator
from torch.nn.parallel import DistributedDataParallel


def first_device(strategy: str) -> torch.device:
    """Where frozen weights go straight from their files: the GPU of this process, so that the processes of a node do
    not each hold the model in the node's memory. Under ZeRO-3 no GPU holds a whole model."""
    if strategy == "zero3" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK") or 0))


def hand_out(accelerator: Accelerator, objective: torch.nn.Module) -> None:
    """Get an objective ready for :meth:`Accelerator.prepare`, so that no weight is copied that need not be.

    ZeRO-3: every process gets its share of one weight after the other. Left to itself, DeepSpeed first moves the whole
    model to each device. DDP: frozen weights, which every process has read from the same files, are not sent to the
    others again: written to, the pages of a mapped file would be theirs no longer. Nor are they moved on a CPU, which
    Accelerate calls ``cpu:0``: for torch that is another device than ``cpu``, and moving copies.
    """
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None and plugin.zero_stage == 3:
        from deepspeed import zero

        for module in objective.modules():  # which DeepSpeed leaves to whoever shares out the weights
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.to(accelerator.device)
        zero.Init(module=objective, config_dict_or_path=plugin.deepspeed_config)
    elif plugin is None:
        frozen = [name for name, parameter in objective.named_parameters() if not parameter.requires_grad]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(objective, frozen)
        accelerator.device_placement = accelerator.device.type != "cpu"
