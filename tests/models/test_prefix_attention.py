"""The shared-prefix layout computes what separate rows compute: logits, loss and every gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from skyeye.config.schema import LanguageConfig, MLPProjectorConfig, VisionConfig
from skyeye.data.sequence import IMAGE_TOKEN_ID, Branch, GroupSequence, collate_rows, pack, separate_rows
from skyeye.errors import SkyEyeError
from skyeye.models import losses, prefix_attention
from skyeye.models.build import build_model
from skyeye.models.losses import IGNORE_INDEX
from skyeye.models.prefix_attention import (
    NAME,
    additive_mask,
    attention,
    flex_mask,
    groups_of_row,
    lay_out,
    prefix_mask,
    split_attention,
    split_mask,
)

EXACT = {"atol": 1e-5, "rtol": 1e-5}

EVA = VisionConfig(image_size=28, patch_size=7, width=16, depth=3, heads=2, mlp_ratio=2.0)
CONV = VisionConfig(
    architecture="timm",
    name="convnext_atto",
    image_size=64,
    arguments={"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)},
)
#: Sections of a model that sees by more than the last output of one tower.
EYES = {
    "a level": {"vision": replace(EVA, layers=[-2])},
    "levels": {"vision": replace(EVA, layers=[1, 2, 3]), "projector": MLPProjectorConfig(join_tokens=2)},
    "two towers": {"vision": [EVA, CONV]},
    "levels of two towers": {"vision": [replace(EVA, layers=[1, -2]), CONV], "vision_norm": False},
}


@st.composite
def rows(draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Group and branch ids of one to two packs: prefixes and branches of any length, also none, then padding."""
    packs = []
    for _ in range(draw(st.integers(1, 2))):
        pack = []
        for group in range(draw(st.integers(0, 3))):
            branches = draw(st.lists(st.integers(1, 4), max_size=3))
            prefix = draw(st.integers(0 if branches else 1, 4))
            pack += [(group, 0)] * prefix
            pack += [(group, number) for number, length in enumerate(branches, 1) for _ in range(length)]
        packs.append(pack)
    length = max(1, max(map(len, packs)))
    filled = torch.tensor([pack + [(-1, -1)] * (length - len(pack)) for pack in packs])
    return filled[..., 0], filled[..., 1]


def visible(groups: list[int], branches: list[int], i: int, j: int) -> bool:
    """The rule in words: itself; else, of the same group, not later, and of the prefix or of the same branch."""
    if i == j:
        return True
    return groups[i] == groups[j] != -1 and j < i and branches[j] in (0, branches[i])


@given(rows(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_additive_mask_against_the_rule(ids, dtype):
    group_ids, branch_ids = ids
    mask = additive_mask(group_ids, branch_ids, dtype)
    assert mask.dtype == dtype and mask.shape == (len(group_ids), 1, group_ids.shape[1], group_ids.shape[1])
    for b, (groups, branches) in enumerate(zip(group_ids.tolist(), branch_ids.tolist(), strict=True)):
        for i in range(len(groups)):
            for j in range(len(groups)):
                assert mask[b, 0, i, j] == (0 if visible(groups, branches, i, j) else torch.finfo(dtype).min), (i, j)


@settings(max_examples=25)
@given(rows())
def test_block_mask_against_the_rule(ids):
    group_ids, branch_ids = ids
    rule = flex_mask(group_ids, branch_ids).mask_mod
    for b, (groups, branches) in enumerate(zip(group_ids.tolist(), branch_ids.tolist(), strict=True)):
        for i in range(len(groups)):
            for j in range(len(groups)):
                seen = rule(torch.tensor(b), torch.tensor(0), torch.tensor(i), torch.tensor(j))
                assert bool(seen) == visible(groups, branches, i, j), (i, j)


@given(rows())
def test_groups_of_a_row_are_found_again(ids):
    for group_ids, branch_ids in zip(*ids, strict=True):
        rebuilt = []
        for start, prefix, branches in groups_of_row(group_ids, branch_ids):
            assert start == len(rebuilt)
            if prefix < 0:
                rebuilt += [(-1, -1)] * branches[0]
                continue
            group = int(group_ids[start])
            rebuilt += [(group, 0)] * prefix
            rebuilt += [(group, number) for number, length in enumerate(branches, 1) for _ in range(length)]
        assert rebuilt == list(zip(group_ids.tolist(), branch_ids.tolist(), strict=True))


@settings(max_examples=40)
@given(rows(), st.sampled_from([4, 2, 1]))
def test_split_attention_equals_plain_attention_with_the_mask(ids, key_heads):
    """Forward and gradients, with as many or fewer heads of keys than of queries."""
    group_ids, branch_ids = ids
    assume((group_ids >= 0).any())
    batch, length = group_ids.shape
    query = torch.randn(batch, 4, length, 6, requires_grad=True)
    key, value = (torch.randn(batch, key_heads, length, 6, requires_grad=True) for _ in range(2))
    real = (group_ids >= 0)[:, None, :, None]
    scores = query @ key.repeat_interleave(4 // key_heads, dim=1).transpose(2, 3) * 0.3
    weights = (scores + additive_mask(group_ids, branch_ids, torch.float32)).softmax(dim=-1)
    plain = weights @ value.repeat_interleave(4 // key_heads, dim=1)
    split = split_attention(query, key, value, lay_out(split_mask(group_ids, branch_ids)), scaling=0.3)
    assert_close(split * real, plain * real, **EXACT)
    direction = torch.randn_like(plain) * real
    for a, b in zip(
        torch.autograd.grad((split * direction).sum(), (query, key, value), allow_unused=True),
        torch.autograd.grad((plain * direction).sum(), (query, key, value)),
        strict=True,
    ):
        assert_close(torch.zeros_like(b) if a is None else a, b, **EXACT)


def test_the_form_of_the_mask_follows_the_implementation():
    ids = torch.tensor([[0, 0, 0, -1]]), torch.tensor([[0, 1, 2, -1]])
    assert prefix_mask(*ids, NAME, torch.float32).shape == (1, 1, 2, 4)
    assert prefix_mask(*ids, "eager", torch.float32).shape == (1, 1, 4, 4)
    with pytest.raises(SkyEyeError, match="flash_attention_2"):
        prefix_mask(*ids, "flash_attention_2", torch.float32)


@pytest.mark.parametrize("limit", [{"softcap": 50.0}, {"sliding_window": 3}])
def test_refuses_language_models_with_another_attention(limit):
    ids = torch.tensor([[0, 0, 0, 0]]), torch.tensor([[0, 1, 2, 3]])
    heads = torch.randn(1, 2, 4, 6)
    with pytest.raises(SkyEyeError, match="share_prefix"):
        attention(torch.nn.Module(), heads, heads, heads, split_mask(*ids), **limit)


def layout(model, generator: torch.Generator) -> tuple[dict, list[dict]]:
    """Two images and five questions, two images in one group, and a text: as one pack and as separate rows."""
    tokens = model.config.tokens_per_image

    def words(count: int) -> list[int]:
        return torch.randint(1, 100, (count,), generator=generator).tolist()

    pixels = torch.randn(3, *model.config.pixel_shape, generator=generator)
    groups = [
        (words(2) + [-1] * tokens + words(1), pixels[:1], [[3, 2], [1, 4, 2, 3], [5, 1]]),  # the second of two turns
        (words(1) + [-1] * 2 * tokens, pixels[1:], [[2, 3], [4, 2]]),
        (words(3), None, [[2, 4]]),
        ([], None, [[3, 2]]),
    ]
    names = ("input_ids", "labels", "position_ids", "group_ids", "branch_ids")
    packed: dict[str, list[int]] = {name: [] for name in names}
    separate = []
    for number, (prefix, images, branches) in enumerate(groups):
        start = len(prefix)
        parts = [(prefix, [IGNORE_INDEX] * start, 0)]
        for turns in branches:
            ids = words(sum(turns))
            labels = [
                token if place % 2 else IGNORE_INDEX
                for token, place in zip(ids, [t for t, length in enumerate(turns) for _ in range(length)], strict=True)
            ]
            parts.append((ids, labels, start))
            row = {"input_ids": torch.tensor([prefix + ids]), "labels": torch.tensor([[IGNORE_INDEX] * start + labels])}
            separate.append(row if images is None else row | {"pixel_values": images})
        for branch, (ids, labels, first) in enumerate(parts):
            columns = (ids, labels, range(first, first + len(ids)), [number] * len(ids), [branch] * len(ids))
            for name, values in zip(names, columns, strict=True):
                packed[name] += values
    return {name: torch.tensor([values]) for name, values in packed.items()} | {"pixel_values": pixels}, separate


def everything_trained(model) -> None:
    model.set_trainable(vision="full", projector="full", language="full")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith("vision_norm"))  # adapters as well


@pytest.mark.parametrize("logits", ["all", "supervised", "none"])
@pytest.mark.parametrize("attention", [NAME, "sdpa", "eager"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_equals_separate_rows(tiny_model, logits, attention, checkpointing, monkeypatch):
    monkeypatch.setattr(losses, "PIECE", 5)  # so that "none" needs several pieces
    tiny_model.language_model.set_attn_implementation(attention)
    everything_trained(tiny_model)
    if checkpointing:
        tiny_model.train()
        tiny_model.gradient_checkpointing_enable()
    packed, separate = layout(tiny_model, torch.Generator().manual_seed(1))
    targets = int((packed["labels"] != IGNORE_INDEX).sum())

    together = tiny_model(**packed, logits=logits)
    together.loss.backward()
    gradients = {name: p.grad.clone() for name, p in tiny_model.named_parameters() if p.grad is not None}

    tiny_model.zero_grad()
    alone = [tiny_model(**row, num_target_tokens=targets, logits="supervised") for row in separate]
    loss = sum(output.loss for output in alone)
    loss.backward()

    assert_close(together.loss, loss, **EXACT)
    predicted = torch.cat([output.logits for output in alone])
    if logits == "none":
        assert together.logits is None
    else:
        where = packed["labels"].roll(-1, dims=1)
        where[:, -1] = IGNORE_INDEX
        given = together.logits if logits == "supervised" else together.logits[where != IGNORE_INDEX]
        assert_close(given, predicted, **EXACT)
    assert sum(gradient.abs().sum() > 0 for gradient in gradients.values()) > 20
    for name, parameter in tiny_model.named_parameters():
        if parameter.requires_grad:
            assert_close(gradients[name], parameter.grad, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("eyes", EYES)
def test_other_eyes_equal_separate_rows(tiny_config, eyes):
    model = build_model(tiny_config(**EYES[eyes])).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.2)
    everything_trained(model)
    packed, separate = layout(model, torch.Generator().manual_seed(7))
    targets = int((packed["labels"] != IGNORE_INDEX).sum())
    together = model(**packed, logits="supervised")
    together.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    alone = [model(**row, num_target_tokens=targets, logits="supervised") for row in separate]
    loss = sum(output.loss for output in alone)
    loss.backward()
    assert_close(together.loss, loss, **EXACT)
    assert_close(together.logits, torch.cat([output.logits for output in alone]), **EXACT)
    towers = len(model.config.towers)
    for number in range(towers):
        prefix = f"vision_tower.towers.{number}." if towers > 1 else "vision_tower."
        assert sum(gradient.abs().sum() for name, gradient in gradients.items() if name.startswith(prefix)) > 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert_close(gradients[name], parameter.grad, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


def test_grouped_queries_equal_separate_rows(tiny_config):
    text = tiny_config().language.config | {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = build_model(tiny_config(language=LanguageConfig(config=text))).eval()
    packed, separate = layout(model, torch.Generator().manual_seed(2))
    rows = torch.cat([model(**row, logits="supervised").logits for row in separate])
    assert_close(model(**packed, logits="supervised").logits, rows, **EXACT)


def test_flex_attention_equals_separate_rows(tiny_model):
    """The forward pass only: FlexAttention has no backward pass on a CPU."""
    packed, _separate = layout(tiny_model, torch.Generator().manual_seed(1))
    mask = flex_mask(packed["group_ids"], packed["branch_ids"])
    heads = [torch.randn(1, 2, packed["input_ids"].shape[1], 16) for _ in range(3)]
    with torch.no_grad():
        flex, _ = attention(torch.nn.Module().eval(), *heads, mask)
    split = split_attention(*heads, lay_out(split_mask(packed["group_ids"], packed["branch_ids"])))
    assert_close(flex, split.transpose(1, 2), **EXACT)


def test_more_padding_changes_nothing(tiny_model):
    packed, _ = layout(tiny_model, torch.Generator().manual_seed(2))
    wider = dict(packed)
    fillers = {"input_ids": 9, "labels": IGNORE_INDEX, "position_ids": 0, "group_ids": -1, "branch_ids": -1}
    for name, filler in fillers.items():
        wider[name] = torch.nn.functional.pad(packed[name], (0, 7), value=filler)
    assert_close(tiny_model(**wider).loss, tiny_model(**packed).loss, **EXACT)


def test_bfloat16_autocast_is_close_and_finite(tiny_model):
    packed, _ = layout(tiny_model, torch.Generator().manual_seed(3))
    exact = tiny_model(**packed)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = tiny_model(**packed)
    assert torch.isfinite(rounded.logits).all()
    assert_close(rounded.loss, exact.loss, atol=2e-2, rtol=0)


def test_refuses_a_label_that_nothing_predicts(tiny_model):
    packed, _ = layout(tiny_model, torch.Generator().manual_seed(4))
    first = int((packed["branch_ids"][0] == 1).nonzero()[0])
    packed["labels"][0, first] = 7
    with pytest.raises(SkyEyeError, match="first token of a branch"):
        tiny_model(**packed)


def test_captions_behind_their_image_alone_equal_separate_rows(tiny_model):
    """The style ``plain``: the last image token predicts the first word, so every caption has an image of its own."""
    captions = [[5, 6, 7], [8, 9]]
    image = [1] + [IMAGE_TOKEN_ID] * tiny_model.tokens_per_image
    groups = [GroupSequence(("a",), image, [Branch(ids, ids, None)]) for ids in captions]
    pixels = torch.randn(2, *tiny_model.config.pixel_shape)
    packed = tiny_model(**pack(groups, 0), pixel_values=pixels)
    rows = tiny_model(**collate_rows(separate_rows(groups), 0), pixel_values=pixels)
    assert_close(packed.loss, rows.loss)
    together = pack([GroupSequence(("a",), image, [Branch(ids, ids, None) for ids in captions])], 0)
    with pytest.raises(SkyEyeError, match="first token of a branch"):
        tiny_model(**together, pixel_values=pixels[:1])


@pytest.mark.parametrize("missing", ["position_ids", "group_ids"])
def test_refuses_branches_without_their_places(tiny_model, missing):
    packed, _ = layout(tiny_model, torch.Generator().manual_seed(5))
    del packed[missing]
    with pytest.raises(SkyEyeError, match="without group_ids and position_ids"):
        tiny_model(**packed)


def test_refuses_attention_that_ignores_the_mask(tiny_model):
    packed, _ = layout(tiny_model, torch.Generator().manual_seed(6))
    tiny_model.language_model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(SkyEyeError, match="flash_attention_2"):
        tiny_model(**packed)


def test_a_chosen_implementation_is_kept(tiny_config):
    text = tiny_config().language.config
    assert build_model(tiny_config()).language_model.config._attn_implementation == NAME
    eager = LanguageConfig(config=text | {"attn_implementation": "eager"})
    assert build_model(tiny_config(language=eager)).language_model.config._attn_implementation == "eager"


def test_masks_of_packs_of_any_length_take_two_graphs(monkeypatch):
    """On CUDA the block mask is made by compiled code; here its graphs are counted and run as they are."""
    graphs, real = [], torch.compile

    def counting(function):
        return real(function, backend=lambda graph, _: graphs.append(graph) or graph.forward)

    monkeypatch.setattr(prefix_attention.torch, "compile", counting)
    make = prefix_attention._compiled_block_mask.__wrapped__()
    for length in (128, 256, 512, 384, 640):
        ids = torch.zeros(1, length, dtype=torch.long), torch.arange(length)[None] // 50
        expected = flex_mask(*ids)
        with monkeypatch.context() as patch:
            patch.setattr(prefix_attention, "create_block_mask", make)
            assert torch.equal(flex_mask(*ids).to_dense(), expected.to_dense())
    assert len(graphs) == 2  # the second for every length


class _OnCuda(torch.Tensor):
    is_cuda = True


@pytest.mark.parametrize(("width", "form"), [(8, "split"), (15, "split"), (16, "flex"), (128, "flex")])
def test_heads_that_flex_attention_does_not_take_are_split(monkeypatch, width, form):
    """Its kernels raise below 16, at the first step on a GPU."""
    monkeypatch.setattr(prefix_attention, "flex_mask", lambda *ids: "flex")
    monkeypatch.setattr(prefix_attention, "split_mask", lambda *ids: "split")
    ids = torch.zeros(1, 4, dtype=torch.long).as_subclass(_OnCuda)
    assert prefix_mask(ids, ids, NAME, torch.float32, width) == form


def test_flex_attention_gets_query_key_and_value_of_one_type(monkeypatch):
    """Rotated positions in float32 leave query and key in it where the products are in bfloat16."""
    seen = []
    monkeypatch.setattr(prefix_attention, "flex_attention_forward", lambda _, *qkv, **more: seen.extend(qkv[:3]))
    ids = torch.zeros(1, 128, dtype=torch.long)
    query, key, value = (torch.zeros(1, 2, 128, 16) for _ in range(3))
    attention(torch.nn.Module(), query, key, value.bfloat16(), flex_mask(ids, ids))
    assert [x.dtype for x in seen] == [torch.bfloat16] * 3


def test_rows_are_laid_out_once_for_all_layers(tiny_model, monkeypatch):
    laid_out, real = [], prefix_attention.groups_of_row
    monkeypatch.setattr(prefix_attention, "groups_of_row", lambda *ids: laid_out.append(ids) or real(*ids))
    ids = torch.randint(3, 100, (2, 9))
    layout = {"group_ids": torch.zeros_like(ids), "branch_ids": torch.arange(9).expand(2, 9) // 3}
    tiny_model(ids, **layout, position_ids=torch.arange(9).expand(2, 9))
    assert len(laid_out) == 2  # one for each row, though there are two layers


@pytest.mark.parametrize("lengths", [[(5, [3, 2]), (4, [2, 2])], [(3, [])]])
def test_no_backward_operation_fills_as_many_zeros_as_the_row_is_long(lengths):
    """A slice does, for every group and for queries, keys and values; parts of one split do not."""
    groups = [
        (g, b)
        for g, (prefix, branches) in enumerate(lengths)
        for b, n in enumerate([prefix, *branches])
        for _ in range(n)
    ]
    ids = torch.tensor(groups).T
    heads = [torch.randn(1, 2, len(groups), 8, requires_grad=True) for _ in range(3)]
    mixed = split_attention(*heads, lay_out(split_mask(ids[:1], ids[1:])))
    seen, todo = set(), [mixed.grad_fn]
    while todo:
        node = todo.pop()
        seen.add(node.name())
        todo += [parent for parent, _ in node.next_functions if parent is not None]
    assert not [name for name in seen if name.startswith(("SliceBackward", "SelectBackward"))]
    assert any(name.startswith("SplitWithSizes") for name in seen)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("width", [16, 64, 128])
def test_flex_attention_on_a_gpu_equals_the_split_form(width):
    """Forward and backward, heads that share keys and values included."""
    row = [(0, 0)] * 70 + [(0, b) for b in range(1, 5) for _ in range(b * 3)] + [(1, 0)] * 40 + [(1, 1)] * 9
    row += [(-1, -1)] * (-len(row) % 128)
    ids = torch.tensor(row, device="cuda").T
    real = ids[0] >= 0
    heads = [torch.randn(1, n, len(row), width, device="cuda", requires_grad=True) for n in (4, 2, 2)]
    results = []
    for mask in (flex_mask(ids[:1], ids[1:]), split_mask(ids[:1], ids[1:])):
        mixed, _ = attention(torch.nn.Module().train(), *heads, mask)
        grads = torch.autograd.grad(mixed[:, real].square().sum(), heads)
        results.append([mixed[:, real], *(grad[:, :, real] for grad in grads)])
    for flex, split in zip(*results, strict=True):
        assert_close(flex, split, atol=2e-3, rtol=2e-3)  # the kernel multiplies with fewer bits than float32 has
