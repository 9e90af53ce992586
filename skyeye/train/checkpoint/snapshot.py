"""Trained parameters and AdamW moments by parameter name, whatever strategy holds them: gathered whole, restored.

Single and DDP processes have them whole. ZeRO keeps each process's share in flat float32 partitions; the pieces are
collected and set through DeepSpeed's functions for debugging and fine control (deepspeed.utils.tensor_fragment).
"""

from __future__ import annotations

import torch
from accelerate.utils import DistributedType
from torch import nn

from skyeye.models.objective import moving_statistics, trained_parameters
from skyeye.train.context import Prepared

#: AdamW's state of a parameter, besides the number of its steps.
MOMENTS = ("exp_avg", "exp_avg_sq")


@torch.no_grad()
def collect(prepared: Prepared) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, float]]:
    """What training has changed so far. All processes take part; process 0 gets the tensors, the others none.

    Returns:
        (parameters, moments, steps): float32 tensors by name, by ``name/exp_avg`` and ``name/exp_avg_sq``, and the
        number of AdamW's steps by name. Statistics of batch norms stand among the parameters. What lies whole in the
        host's memory is no copy: the next step changes it.
    """
    parameters, moments, steps = {}, {}, {}
    accelerator, optimizer = prepared.accelerator, prepared.optimizer
    zero = accelerator.distributed_type == DistributedType.DEEPSPEED
    keeps = accelerator.is_main_process
    init_optimizer_state(optimizer)
    if zero:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        _link(optimizer)
        count = float(next(iter(_base(optimizer).state.values()))["step"])
    for name, parameter in trained_parameters(prepared.plain_objective):
        if zero:
            values = [safe_get_full_fp32_param(parameter)]
            values += [safe_get_full_optimizer_state(parameter, key) for key in MOMENTS]
        elif keeps:
            kept = _base(optimizer).state[parameter]
            values, count = [parameter, *(kept[key] for key in MOMENTS)], float(kept["step"])
        if keeps:
            values = [value.detach().to("cpu", torch.float32).contiguous() for value in values]
            parameters[name], steps[name] = values[0], count
            moments.update({f"{name}/{key}": value for key, value in zip(MOMENTS, values[1:], strict=True)})
    if keeps:
        parameters |= {name: value.detach().cpu() for name, value in moving_statistics(prepared.plain_objective)}
    return parameters, moments, steps


@torch.no_grad()
def restore_state(
    prepared: Prepared,
    parameters: dict[str, torch.Tensor],
    moments: dict[str, torch.Tensor],
    steps: dict[str, float],
) -> None:
    """Put what :func:`collect` gave into a prepared objective and optimiser, of whatever strategy."""
    optimizer = prepared.optimizer
    init_optimizer_state(optimizer)
    zero = prepared.accelerator.distributed_type == DistributedType.DEEPSPEED
    if zero:
        _link(optimizer)
        for state in _base(optimizer).state.values():
            state["step"].fill_(max(steps.values()))
    for name, parameter in trained_parameters(prepared.plain_objective):
        values = {None: parameters[name], **{key: moments[f"{name}/{key}"] for key in MOMENTS}}
        if not zero:
            parameter.copy_(values.pop(None))
            state = _base(optimizer).state[parameter]
            state["step"].fill_(steps[name])
            for key, value in values.items():
                state[key].copy_(value)
        elif hasattr(parameter, "ds_id"):
            _set_share(parameter, values)
        else:
            parameter.copy_(values[None])
            for key, value in values.items():
                parameter.set_full_hp_param(value.to(parameter.device), key)
    for name, buffer in moving_statistics(prepared.plain_objective):
        buffer.copy_(parameters[name])


def init_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Give AdamW the state that its first step would: zero moments. They can then be read and set at once."""
    base = _base(optimizer)
    for parameter in _held(optimizer):
        if not base.state[parameter]:
            on_device = base.defaults.get("fused") or base.defaults.get("capturable")
            device = parameter.device if on_device else "cpu"
            base.state[parameter]["step"] = torch.zeros((), dtype=torch.float32, device=device)
            for key in MOMENTS:
                base.state[parameter][key] = torch.zeros_like(parameter, memory_format=torch.preserve_format)


def _base(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """AdamW below the wrappers of Accelerate and DeepSpeed."""
    while not isinstance(optimizer, torch.optim.AdamW) and hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def _held(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The tensors that AdamW updates: parameters, or under ZeRO this process's flat partitions."""
    zero = getattr(optimizer, "optimizer", None)
    for name in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups"):  # ZeRO-3; ZeRO-1 and 2
        if hasattr(zero, name):
            return list(getattr(zero, name))
    return [parameter for group in _base(optimizer).param_groups for parameter in group["params"]]


def _link(optimizer: torch.optim.Optimizer) -> None:
    """ZeRO-1 and 2 connect parameters with their share of the moments after the first update; here before it."""
    link = getattr(optimizer.optimizer, "_lazy_init_hp_params_optimizer_state", None)
    if link is not None:
        link()


def _set_share(parameter: nn.Parameter, values: dict[str | None, torch.Tensor]) -> None:
    """ZeRO-3: this process's share of a parameter and its moments; the last share is padded with zeros."""
    import deepspeed
    from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

    size = parameter.ds_tensor.numel()
    first = torch.distributed.get_rank() * size
    for key, value in values.items():
        share = torch.zeros(size, dtype=torch.float32, device=parameter.ds_tensor.device)
        own = value.flatten()[first : first + size]
        share[: own.numel()] = own
        if key is None:
            safe_set_local_fp32_param(parameter, share)
        else:
            safe_set_local_optimizer_state(parameter, share, key)
    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
        parameter.copy_(values[None].to(parameter.device))
