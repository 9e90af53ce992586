"""Embeddings, logits, losses and gradients of the reference's eight batches.

Tolerances are small multiples of the golden README's: 1e-7 in embeddings (5e-6 at image tokens), 5e-6 in logits, 1e-6
in losses, 5e-7 in gradients.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional as F
from torch.testing import assert_close

from skyeye.models.converters.minigpt_v2 import reference_name
from skyeye.models.losses import IGNORE_INDEX

pytestmark = pytest.mark.golden

GOLDEN = Path(os.environ.get("SKYEYE_GOLDEN") or Path(__file__).parents[1] / "golden")
BATCHES = json.loads((GOLDEN / "batches.json").read_text())
WITH_GRADIENTS = [name for name, batch in BATCHES.items() if "grad_norms" in batch]


def is_detailed(name: str) -> bool:
    with safe_open(GOLDEN / f"batch_{name}.safetensors", "pt") as file:
        return "logits_at_targets" in file.keys()


DETAILED = [name for name in BATCHES if is_detailed(name)]
assert DETAILED and WITH_GRADIENTS, "a set without logits or gradients proves nothing"

LOGITS = {"atol": 3e-5, "rtol": 1e-5}
LOSS = {"atol": 5e-6, "rtol": 0}
GRADIENTS = {"atol": 3e-6, "rtol": 1e-5}


@torch.no_grad()
@pytest.mark.parametrize("name", DETAILED)
def test_embeddings_and_logits(golden_model, golden_batch, name):
    inputs, expected = golden_batch(name)
    pixels = inputs.get("pixel_values")
    features = inputs.get("image_features") if pixels is None else golden_model.encode_images(pixels)
    assert_close(golden_model.embed(inputs["input_ids"], features), expected["inputs_embeds"], **LOGITS)
    logits = golden_model(**inputs).logits
    rows, positions = expected["target_positions"].unbind(dim=1)
    assert_close(logits[rows, positions], expected["logits_at_targets"], **LOGITS)
    tokens = inputs["attention_mask"].bool()  # values at padding positions are not meaningful
    (first,) = (values for key, values in expected.items() if key.startswith("logits_first"))
    assert_close(logits[..., : first.shape[-1]][tokens], first[tokens], **LOGITS)
    supervised = golden_model(**inputs, logits="supervised").logits
    assert_close(supervised, expected["logits_at_targets"], **LOGITS)


@torch.no_grad()
@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("logits", ["all", "supervised"])
def test_loss(golden_model, golden_batch, name, logits):
    inputs, expected = golden_batch(name)
    stated = BATCHES[name]
    targets = int((inputs["labels"] != IGNORE_INDEX).sum())
    assert targets == sum(stated["n_target_tokens"])
    output = golden_model(**inputs, logits=logits)
    assert_close(output.loss, torch.tensor(stated["loss"]), **LOSS)
    assert_close(output.loss, expected["loss"].squeeze(), **LOSS)
    twice = golden_model(**inputs, logits=logits, num_target_tokens=2 * targets).loss
    assert_close(twice, output.loss / 2)


@torch.no_grad()
@pytest.mark.parametrize("name", BATCHES)
def test_loss_per_sample(golden_model, golden_batch, name):
    inputs, expected = golden_batch(name)
    logits, labels = golden_model(**inputs).logits[:, :-1], inputs["labels"][:, 1:]
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="none")
    per_sample = losses.view(labels.shape).mean(dim=1)  # the reference divides by T - 1, not by the targets
    assert_close(per_sample, expected["loss_per_sample_reduction_none"], **LOSS)


@pytest.mark.parametrize("name", WITH_GRADIENTS)
@pytest.mark.parametrize("logits", ["all", "supervised"])
def test_gradients(golden_model, golden_batch, name, logits):
    inputs, expected = golden_batch(name)
    golden_model(**inputs, logits=logits).loss.backward()
    gradients = {reference_name(n): p.grad for n, p in golden_model.named_parameters() if p.requires_grad}
    wanted = {key.removeprefix("grad."): value for key, value in expected.items() if key.startswith("grad.")}
    assert gradients.keys() == wanted.keys()  # exactly what the reference trains is trainable by default
    norms = BATCHES[name]["grad_norms"]
    for parameter, gradient in gradients.items():
        assert_close(gradient, wanted[parameter], **GRADIENTS)
        assert gradient.norm().item() == pytest.approx(norms[parameter], rel=1e-5)
