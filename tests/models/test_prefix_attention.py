"""The shared-prefix layout computes what separate rows compute: logits, loss and every gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from skyeye.errors import SkyEyeError
from skyeye.models.losses import IGNORE_INDEX
from skyeye.models.prefix_attention import shared_prefix_mask

EXACT = {"atol": 1e-5, "rtol": 1e-5}


@st.composite
def branch_rows(draw) -> list[list[int]]:
    rows = [
        [0] * draw(st.integers(0, 4))
        + [k + 1 for k in range(draw(st.integers(0, 3))) for _ in range(draw(st.integers(1, 3)))]
        for _ in range(draw(st.integers(1, 3)))
    ]
    length = max(1, max(map(len, rows)))
    return [row + [-1] * (length - len(row)) for row in rows]


@given(branch_rows(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_mask_against_a_triple_loop(rows, dtype):
    mask = shared_prefix_mask(torch.tensor(rows), dtype)
    assert mask.dtype == dtype and mask.shape == (len(rows), 1, len(rows[0]), len(rows[0]))
    for b, row in enumerate(rows):
        for i, query in enumerate(row):
            for j, key in enumerate(row):
                if query == -1:
                    visible = i == j
                else:
                    visible = j <= i and (key == 0 or (key == query and key != -1))
                assert mask[b, 0, i, j] == (0 if visible else torch.finfo(dtype).min), (row, i, j)


def layout(model, generator: torch.Generator) -> tuple[dict, list[dict], torch.Tensor]:
    """The same two images and five questions as shared-prefix rows and as separate rows.

    Returns:
        The batch of the shared layout; one batch of a single row for every branch; pixels.
    """
    tokens = model.config.tokens_per_image

    def words(count: int) -> list[int]:
        return torch.randint(1, 100, (count,), generator=generator).tolist()

    size = model.config.vision["image_size"]
    pixels = torch.randn(3, 3, size, size, generator=generator)
    groups = [
        (words(2) + [-1] * tokens + words(1), pixels[:1], [(3, 2), (1, 4), (5, 1)]),
        (words(1) + [-1] * 2 * tokens, pixels[1:], [(2, 3), (4, 2)]),  # two images: the longer row
    ]
    shared: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "position_ids": [], "branch_ids": []}
    separate = []
    for prefix, images, branches in groups:
        ids, labels, positions, branch_ids = list(prefix), [IGNORE_INDEX] * len(prefix), list(range(len(prefix))), []
        branch_ids = [0] * len(prefix)
        for number, (question, answer) in enumerate(branches, start=1):
            branch, start = words(question + answer), len(prefix)
            branch_labels = [IGNORE_INDEX] * question + branch[question:]
            ids += branch
            labels += branch_labels
            positions += range(start, start + len(branch))
            branch_ids += [number] * len(branch)
            separate.append(
                {
                    "input_ids": torch.tensor([prefix + branch]),
                    "labels": torch.tensor([[IGNORE_INDEX] * start + branch_labels]),
                    "pixel_values": images,
                }
            )
        for name, row in zip(shared, (ids, labels, positions, branch_ids), strict=True):
            shared[name].append(row)
    length = max(map(len, shared["input_ids"]))
    padding = {"input_ids": 5, "labels": IGNORE_INDEX, "position_ids": 0, "branch_ids": -1}
    batch = {
        name: torch.tensor([row + [padding[name]] * (length - len(row)) for row in rows])
        for name, rows in shared.items()
    }
    return batch | {"pixel_values": pixels}, separate, pixels


@pytest.mark.parametrize("logits", ["all", "supervised"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_equals_separate_rows(tiny_model, logits, attention):
    tiny_model.language_model.set_attn_implementation(attention)
    tiny_model.set_trainable(vision="full", projector="full", language="full")
    for name, parameter in tiny_model.named_parameters():
        parameter.requires_grad_(True if not name.startswith("vision_norm") else False)  # adapters as well
    batch, separate, _ = layout(tiny_model, torch.Generator().manual_seed(1))
    targets = int((batch["labels"] != IGNORE_INDEX).sum())

    together = tiny_model(**batch, logits=logits)
    together.loss.backward()
    gradients = {name: p.grad.clone() for name, p in tiny_model.named_parameters() if p.grad is not None}

    tiny_model.zero_grad()
    alone = [tiny_model(**row, num_target_tokens=targets, logits="supervised") for row in separate]
    loss = sum(output.loss for output in alone)
    loss.backward()

    assert_close(together.loss, loss, **EXACT)
    predicted = torch.cat([output.logits for output in alone])
    if logits == "supervised":
        assert_close(together.logits, predicted, **EXACT)
    else:
        where = batch["labels"].roll(-1, dims=1)
        where[:, -1] = IGNORE_INDEX
        assert_close(together.logits[where != IGNORE_INDEX], predicted, **EXACT)
    assert sum(gradient.abs().sum() > 0 for gradient in gradients.values()) > 20
    for name, parameter in tiny_model.named_parameters():
        if parameter.requires_grad:
            assert_close(gradients[name], parameter.grad, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


def test_more_padding_changes_nothing(tiny_model):
    batch, _, _ = layout(tiny_model, torch.Generator().manual_seed(2))
    wider = dict(batch)
    for name, filler in {"input_ids": 9, "labels": IGNORE_INDEX, "position_ids": 0, "branch_ids": -1}.items():
        wider[name] = torch.nn.functional.pad(batch[name], (0, 7), value=filler)
    assert_close(tiny_model(**wider).loss, tiny_model(**batch).loss, **EXACT)


def test_bfloat16_autocast_is_close_and_finite(tiny_model):
    batch, _, _ = layout(tiny_model, torch.Generator().manual_seed(3))
    exact = tiny_model(**batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = tiny_model(**batch)
    assert torch.isfinite(rounded.logits).all()
    assert_close(rounded.loss, exact.loss, atol=2e-2, rtol=0)


def test_refuses_a_label_that_nothing_predicts(tiny_model):
    batch, _, _ = layout(tiny_model, torch.Generator().manual_seed(4))
    first = int((batch["branch_ids"][0] == 1).nonzero()[0])
    batch["labels"][0, first] = 7
    with pytest.raises(SkyEyeError, match="first token of a branch"):
        tiny_model(**batch)


def test_refuses_branches_without_positions(tiny_model):
    batch, _, _ = layout(tiny_model, torch.Generator().manual_seed(5))
    del batch["position_ids"]
    with pytest.raises(SkyEyeError, match="position_ids"):
        tiny_model(**batch)


def test_refuses_attention_that_ignores_the_mask(tiny_model):
    batch, _, _ = layout(tiny_model, torch.Generator().manual_seed(6))
    tiny_model.language_model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(SkyEyeError, match="flash_attention_2"):
        tiny_model(**batch)
