"""An exponential moving average of what is trained: less noisy than the last step, exported beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from skyeye.errors import SkyEyeError
from skyeye.models.objective import trained_parameters


class MovingAverage:
    """``average = decay * average + (1 - decay) * parameter`` after every step, in float32.

    It begins with the values that the parameters have at the start of the stage.
    Under ZeRO-3 a process averages its own share of each parameter, so that nothing is sent for it; under all other
    strategies every process holds the same averages.

    Args:
        objective: what is trained, unwrapped; after ``accelerator.prepare``, which may share its parameters out.
        decay: between 0 and 1; the average looks back over about ``1 / (1 - decay)`` steps.
    """

    def __init__(self, objective: nn.Module, decay: float):
        self.decay = decay
        self._parameters = dict(trained_parameters(objective))
        self._averages = {name: _share(p).float().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now. To be called once after each step that moved them."""
        for name, parameter in self._parameters.items():
            self._averages[name].lerp_(_share(parameter).float(), 1 - self.decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the model holds the averages, and what was trained again afterwards, bit for bit."""
        trained = {name: _share(p).clone() for name, p in self._parameters.items()}
        self._fill(self._averages)
        try:
            yield
        finally:
            self._fill(trained)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Whole averages by parameter name, float32, on the CPU; where they lie there already, no copies: the next step
        changes them. ZeRO-3: to be called on all processes."""
        whole = {name: average.cpu() for name, average in self._averages.items() if not self._shared(name)}
        if len(whole) < len(self._averages):
            with self.in_place():
                for name in filter(self._shared, self._averages):
                    with gathered(self._parameters[name]):
                        whole[name] = self._parameters[name].detach().float().cpu().clone()
        return whole

    def load_state_dict(self, averages: Mapping[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state_dict` gave. ZeRO-3: to be called on all processes.

        Raises:
            SkyEyeError: the averages are not those of the parameters trained here.
        """
        if averages.keys() != self._parameters.keys():
            odd = sorted(averages.keys() ^ self._parameters.keys())
            raise SkyEyeError(
                f"{len(odd)} parameters are averaged in the state or in the recipe only, e.g. {odd[0]}",
                remedy="resume with the recipe that the run folder holds",
            )
        trained = {name: _share(p).clone() for name, p in self._parameters.items()}
        for name, parameter in self._parameters.items():
            if not self._shared(name):
                self._averages[name].copy_(averages[name])
                continue
            with gathered(parameter, writes=True), torch.no_grad():
                parameter.copy_(averages[name])
            self._averages[name].copy_(_share(parameter))
        self._fill(trained)

    def _shared(self, name: str) -> bool:
        return hasattr(self._parameters[name], "ds_id")

    @torch.no_grad()
    def _fill(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            _share(parameter).copy_(values[name])
        # ZeRO-3 holds small parameters whole besides their shares, and reads them there.
        whole = [p for p in self._parameters.values() if hasattr(p, "ds_id") and p.ds_status.name == "AVAILABLE"]
        if whole:
            whole[0].partition(param_list=whole)
            whole[0].all_gather(param_list=whole)


def _share(parameter: nn.Parameter) -> torch.Tensor:
    """What this process holds of a parameter: under ZeRO-3 a flat part of it, else all."""
    return getattr(parameter, "ds_tensor", parameter).detach()


def gathered(parameter: nn.Parameter, writes: bool = False) -> AbstractContextManager[Any]:
    """ZeRO-3: the whole of a parameter while the block lasts; all processes take part."""
    import deepspeed

    return deepspeed.zero.GatheredParameters([parameter], modifier_rank=0 if writes else None)
