"""Weights go where they are used once: to a GPU from their file, to other processes not at all."""

from __future__ import annotations

from types import SimpleNamespace

import deepspeed
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from skyeye.train.parallel.placement import first_device, hand_out


@pytest.fixture
def group(tmp_path):
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'met'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def _accelerator(stage: int | None) -> SimpleNamespace:
    plugin = None if stage is None else SimpleNamespace(zero_stage=stage, deepspeed_config={"made": "by the run"})
    return SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin), device=torch.device("meta"))


def test_frozen_weights_are_not_sent_to_the_other_processes(group):
    frozen = nn.Linear(4, 4, device="meta").requires_grad_(False)  # whoever touches it fails
    objective = nn.Sequential(frozen, nn.Linear(4, 4))
    with pytest.raises(ValueError, match="meta"):
        nn.parallel.DistributedDataParallel(objective)
    hand_out(_accelerator(None), objective)
    wrapped = nn.parallel.DistributedDataParallel(objective)
    assert wrapped.parameters_to_ignore == {"0.weight", "0.bias"}


def test_weights_of_a_mapped_file_stay_there_on_a_cpu(group, monkeypatch):
    accelerator = Accelerator(cpu=True)
    monkeypatch.setattr(accelerator.state, "device", torch.device("cpu", 0), raising=False)  # that of several processes
    objective = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4))
    mapped = objective[0].weight.data_ptr()
    monkeypatch.setattr(Accelerator, "multi_device", False)
    hand_out(accelerator, objective)
    assert accelerator.prepare_model(objective)[0].weight.data_ptr() == mapped


def test_under_zero3_weights_are_shared_out_before_the_model_is_moved(monkeypatch):
    said = []
    monkeypatch.setattr(deepspeed.zero, "Init", lambda **given: said.append(given))
    objective = nn.BatchNorm1d(4)
    hand_out(_accelerator(3), objective)
    assert said == [{"module": objective, "config_dict_or_path": {"made": "by the run"}}]
    assert objective.running_mean.is_meta and not objective.weight.is_meta  # of all buffers, and of no weight
    hand_out(_accelerator(2), nn.Linear(4, 4, device="meta"))
    assert len(said) == 1


def test_frozen_weights_go_straight_to_the_gpu_of_their_process(monkeypatch):
    assert first_device("ddp").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [str(first_device(strategy)) for strategy in ("ddp", "zero2", "zero3")] == ["cuda:3", "cuda:3", "cpu"]
