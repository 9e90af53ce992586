"""Generation against the reference's: greedy, repetition penalty, beams, an answer that ends early."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

pytestmark = pytest.mark.golden


@pytest.fixture
def prompts(golden, golden_pixels, stated) -> tuple[dict, dict]:
    """(inputs of generate, the file's tensors); the file marks padding on the left with -2."""
    tensors = load_file(golden / "generation.safetensors")
    inputs = {key: tensors[key] for key in ("input_ids", "attention_mask")}
    return inputs | {"pixel_values": torch.stack([golden_pixels[name] for name in stated["images"]])}, tensors


@pytest.fixture
def stated(golden) -> dict:
    return json.loads((golden / "generation.json").read_text())


def answers(raw_ids: list[list[int]]) -> list[list[int]]:
    """The reference's ids begin with a bos that was not generated."""
    return [ids[1:] for ids in raw_ids]


def without_padding(ids: list[int], end: int) -> list[int]:
    """An answer up to its end symbol; what follows only fills the batch."""
    return ids[: ids.index(end) + 1] if end in ids else ids


def row(inputs: dict, index: int) -> dict:
    """One prompt of a batch alone, without padding."""
    kept = inputs["attention_mask"][index].bool()
    return {
        "input_ids": inputs["input_ids"][index : index + 1, kept],
        "attention_mask": inputs["attention_mask"][index : index + 1, kept],
        "pixel_values": inputs["pixel_values"][index : index + 1],
    }


@torch.no_grad()
def test_embeddings_of_the_prompts(golden_model, prompts):
    inputs, expected = prompts
    features = golden_model.encode_images(inputs["pixel_values"])
    tokens = inputs["attention_mask"].bool()
    embeddings = golden_model.embed(inputs["input_ids"].masked_fill(~tokens, 0), features)
    assert_close(embeddings[tokens], expected["inputs_embeds"][tokens], atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_first_logits(golden_model, prompts):
    inputs, expected = prompts
    for index in range(len(inputs["input_ids"])):
        logits = golden_model(**row(inputs, index)).logits[0, -1]
        assert_close(logits, expected[f"first_logits.{index}"], atol=3e-5, rtol=1e-5)


def test_runs(golden_model, prompts, stated):
    inputs, _ = prompts
    for run in stated["runs"]:
        assert golden_model.generate(**inputs, **run["args"]).tolist() == answers(run["raw_ids"]), run["args"]


def test_one_by_one(golden_model, prompts, stated):
    inputs, _ = prompts
    end = golden_model.generation_config.eos_token_id
    for run in stated["runs"]:
        for index, expected in enumerate(answers(run["raw_ids"])):
            (alone,) = golden_model.generate(**row(inputs, index), **run["args"]).tolist()
            assert without_padding(alone, end) == without_padding(expected, end), run["args"]


def test_early_stop(golden_model, prompts, stated):
    inputs, tensors = prompts
    (key,) = (key for key in tensors if key.startswith("early_stop.lm_head_row_"))
    with torch.no_grad():
        golden_model.get_output_embeddings().weight[int(key.rsplit("_", 1)[1])] = tensors[key]
    expected = answers(stated["early_stop"]["raw_ids"])
    assert golden_model.generate(**inputs, **stated["early_stop"]["args"]).tolist() == expected
