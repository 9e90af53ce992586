"""Run with settings as JSON: what training steps of a small model really take, in bytes, on a CPU or a GPU."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path

import torch

from skyeye.config.schema import LanguageConfig, LinearProjectorConfig, LoraConfig, ModelConfig, VisionConfig
from skyeye.data.sequence import Branch, GroupSequence, pack
from skyeye.models.build import build_model
from skyeye.models.checkpointing import checkpoint_layers
from skyeye.models.objective import TrainingObjective
from skyeye.models.precision import DTYPES, in_precision

VOCABULARY = 2000


def model_config(layers: int = 4, hidden: int = 512) -> ModelConfig:
    language = {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": 1376 * hidden // 512,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "max_position_embeddings": 4096,
    }
    return ModelConfig(
        vision=VisionConfig(image_size=112, patch_size=14, width=256, depth=4, heads=4, mlp_ratio=4.0),
        projector=LinearProjectorConfig(join_tokens=4),
        language=LanguageConfig(config=language),
        lora=LoraConfig(r=16, dropout=0.0),
    )


def prepared(settings: dict):
    """What a stage of these settings trains, on the current default device."""
    model = build_model(model_config(**settings.get("sizes", {})), vocab_size=VOCABULARY)
    if settings["frozen"] != "fp32":
        in_precision(model, DTYPES[settings["frozen"]])
    model.set_trainable(vision=settings["vision"], projector="full", language=settings["language"])
    return TrainingObjective(model)


def packed(tokens: int, images: int, targets: int, tokens_per_image: int) -> dict[str, torch.Tensor]:
    """One pack of ``images`` groups with a branch each, of these numbers of tokens and targets in all."""
    groups = []
    for index in range(images):
        length = tokens // images - tokens_per_image - 3
        learnt = targets // images
        labels = [-100] * (length - learnt) + [5] * learnt
        branch = Branch([7] * length, labels, None)
        groups.append(GroupSequence((str(index),), [1, 3, 4, *[-1] * tokens_per_image], [branch]))
    return pack(groups, 0)


def _status(name: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name))
    return int(line.split()[1]) * 1024


def main(settings: dict) -> dict[str, int]:
    device = torch.device(settings.get("device", "cpu"))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    objective = prepared(settings).to(device).train()
    model = objective.model
    if settings["checkpointing"]:
        checkpoint_layers(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    autocast = DTYPES[settings["precision"]]

    def step(tokens: int, images: int, targets: int, packs: int = 2) -> None:
        for _ in range(packs):
            batch = packed(tokens, images, targets, model.tokens_per_image)
            if device.type == "cpu":  # a plain causal row: split attention would keep its weights in addition
                batch = {name: batch[name] for name in ("input_ids", "labels")}
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            pixels = torch.randn(images, 3, 112, 112, device=device)
            with torch.autocast(device.type, autocast, enabled=autocast != torch.float32):
                loss = objective(**batch, pixel_values=pixels, counts={"labels": targets})
            loss.backward()
            del loss
        optimizer.step()

    # Gradients, optimiser, and the kernels that are made for these sizes stay from step to step.
    step(settings["tokens"], settings["images"], settings["targets"], packs=1)
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(settings["tokens"], settings["images"], settings["targets"])
        return {"before": before, "peak": torch.cuda.max_memory_allocated() - before}
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system, or it would not be counted when used again
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    step(settings["tokens"], settings["images"], settings["targets"])
    return {"before": before, "peak": _status("VmHWM") - before}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
