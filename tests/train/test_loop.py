"""What a step of training asks of its device: no number is waited for that is known before, or comes with another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skyeye.train import loop, stages
from skyeye.train.run import train

#: Operations whose result is a number for the processor, or whose shape depends on values: a GPU is waited for.
_WAITING = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select)


class _Reads(TorchDispatchMode):
    """Counts what would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        places = arguments[1] if function is torch.ops.aten.index.Tensor else ()
        by_mask = any(place is not None and place.dtype == torch.bool for place in places)
        if function.overloadpacket in _WAITING or by_mask:
            self.seen.append(str(function))
        return function(*arguments, **(options or {}))

    @contextmanager
    def resting(self) -> Iterator[None]:
        """For what is done with tensors of the processor."""
        before = list(self.seen)
        yield
        self.seen = before


@pytest.fixture
def reads(recipe, monkeypatch) -> Callable[..., tuple[int, list[str]]]:
    """A function that trains, and returns the number of steps, and what they would have waited for."""

    def run(*overrides: str) -> tuple[int, list[str]]:
        mode, steps = _Reads(), []
        on_device: dict[int, torch.Tensor] = {}  # by id, and kept: the id of one that is gone is given to another
        whole, count, move = loop.train_stage, loop._counts, loop._to_device
        update, tolist = torch.optim.AdamW.step, torch.Tensor.tolist

        def counts(batch):
            assert not {id(tensor) for tensor in batch.values()} & on_device.keys(), (
                "a GPU is asked for what was known before"
            )
            with mode.resting():
                return count(batch)

        def to_device(batch, device):
            moved = {name: tensor.clone() for name, tensor in move(batch, device).items()}
            on_device.update((id(tensor), tensor) for tensor in moved.values())
            return moved

        def step(*arguments, **named):  # AdamW counts its steps on the processor
            with mode.resting():
                return update(*arguments, **named)

        def train_stage(prepared, batches, stage, **more):
            made = list(batches)  # in processes of the loader
            steps.extend(made)
            with mode:
                return whole(prepared, iter(made), stage, **more)

        monkeypatch.setattr(loop, "_counts", counts)
        monkeypatch.setattr(loop, "_to_device", to_device)
        monkeypatch.setattr(stages, "train_stage", train_stage)
        monkeypatch.setattr(torch.optim.AdamW, "step", step)
        monkeypatch.setattr(torch.Tensor, "tolist", lambda self: mode.seen.append("tolist") or tolist(self))
        # eager: as FlexAttention on a GPU, it gets a mask that is made there
        train(recipe(), [*overrides, "model.language.config.attn_implementation=eager", "run.checkpoint_every=100"])
        return len(steps), mode.seen

    return run


@pytest.mark.parametrize("settings", [[], ["stages.0.accumulation=2", "stages.1.accumulation=2"]])
def test_a_step_waits_for_its_device_three_times_at_most_however_many_packs_it_has(reads, settings):
    steps, seen = reads(*settings, "stages.0.steps=3", "stages.1.steps=2")
    assert steps == 5 and 0 < len(seen) <= 3 * steps, seen


def test_packs_are_pinned_for_copies_that_are_not_waited_for(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    batch = loop.StepBatch([{"a": torch.ones(2)}, {"b": torch.ones(3)}], 1, 1, 0, None, [], [])
    assert [list(pack) for pack in batch.pin_memory().packs] == [["a"], ["b"]]
    assert len(pinned) == 2
