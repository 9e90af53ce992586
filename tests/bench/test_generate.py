"""What the generation benchmark counts and compares, on a model of a few thousand parameters."""

from __future__ import annotations

import json

import pytest
import torch

import skyeye.models  # noqa: F401  makes torchvision importable before transformers asks for it
from skyeye.bench import generate
from skyeye.bench.generate import OPENING, bench_generate, with_openings
from skyeye.bench.model import bench_model
from skyeye.cli import main
from skyeye.config.schema import LanguageConfig, LoraConfig, ModelConfig, VisionConfig
from skyeye.data.record import Record, Turn
from skyeye.data.sequence import IGNORE_INDEX, IMAGE_TOKEN_ID, Branch, GroupSequence
from skyeye.errors import SkyEyeError
from skyeye.plan.workloads import made_groups

TEXT = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}


def small(**text):
    config = ModelConfig(
        vision=VisionConfig(image_size=28, patch_size=7, width=16, depth=1, heads=2, mlp_ratio=2.0),
        language=LanguageConfig(config=TEXT | text),
        lora=LoraConfig(r=2, alpha=4, dropout=0.0),
    )
    return bench_model(config=config)


def group(image: str, prefix: int, branches: list[tuple[int, int]]) -> GroupSequence:
    """A group of random words: tokens before the four of the image, and lengths of questions and answers."""
    made = []
    for question, answer in branches:
        ids = torch.randint(10, 32000, (question + answer,)).tolist()
        record = Record(image, "s", "vqa", "train", (image,), (Turn("", ""),))
        made.append(Branch(ids, [IGNORE_INDEX] * question + ids[question:], record))
    return GroupSequence((image,), torch.randint(10, 32000, (prefix,)).tolist() + [IMAGE_TOKEN_ID] * 4, made)


def test_counts_by_arithmetic():
    model, _ = small()
    groups = [group("a", 3, [(5, 2), (6, 1), (9, 3)]), group("b", 3, [(4, 2)])]
    result = bench_generate(model, groups, rows=2, baseline_rows=3, pairs=2, seconds=60)
    # tokens that are read: prompt and answer, without the answer's last token
    plain = (7 + 5 + 1) + (7 + 6 + 0) + (7 + 9 + 2) + (7 + 4 + 1)
    shared = plain - 2 * 7  # the prefix of the first image is read once, not three times
    assert result["baseline"]["language_tokens_per_sample"] == round(plain / 4, 1)
    assert result["shared"]["language_tokens_per_sample"] == round(shared / 4, 1)
    assert result["ratio_by_language_tokens"] == round(plain / shared, 2)
    assert result["equality"] == {"answers_compared": 9, "answers_differing": 0}  # 3 rounds, one of them to warm up
    assert result["sizes"]["samples"] == 4 and result["sizes"]["images"] == 2
    assert result["shared"]["cores_used"] > 0 and result["baseline"]["cores_used"] > 0
    assert result["sizes"]["answer_tokens"] == 2.0
    # keys and values of two layers of 32 numbers in float32: 512 bytes a token
    cache, baseline = result["shared"]["cache"], result["baseline"]["cache"]
    room = cache["prefixes"] * cache["prefix_tokens"] + cache["rows"] * cache["row_tokens"]
    assert cache["rows"] == 2 and cache["bytes"] == 512 * room
    assert baseline["tokens_per_row"] == 7 + 9 + 3
    assert baseline["rows_that_fit_in_the_bytes_of_shared"] == room // 19
    assert baseline["rows"] == 3 and baseline["bytes"] == 3 * 19 * 512 <= cache["bytes"]
    for name in ("ratio_samples_per_second", "ratio_images_encoded_once"):
        ratio = result[name]
        assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"] and ratio["pairs"] == 2
    assert result["ratio_images_encoded_once"]["median"] < result["ratio_samples_per_second"]["median"]
    json.dumps(result)


def test_the_baseline_takes_other_questions_each_round_and_keeps_to_the_memory():
    model, _ = small()
    groups = with_openings(made_groups("rsvqa", 1, tokens_per_image=4, vocabulary=32000))
    work = generate.Answering(model, groups, rows=2, baseline_rows=50, pixels=None)
    work.shared()
    asked = []
    collate = generate.collate_prompts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "collate_prompts", lambda rows, pad: asked.append(rows) or collate(rows, pad))
        work.plain(), work.plain()
    assert len(asked[0]) == work.fitting < 50
    assert not {tuple(prompt) for prompt in asked[0]} & {tuple(prompt) for prompt in asked[1]}
    assert work.differing == 0


def test_answers_that_differ_are_counted(monkeypatch):
    model, _ = small()
    work = generate.Answering(model, [group("a", 3, [(5, 2), (6, 2)])], rows=2, baseline_rows=2, pixels=None)
    work.shared()
    work.said[0, 1] = [0, 0]
    work.plain()
    assert (work.compared, work.differing) == (2, 1)


def test_openings_are_common_to_the_questions_of_an_image():
    (made,) = with_openings(made_groups("rsvqa", 1, tokens_per_image=4, vocabulary=32000))
    assert len({tuple(branch.input_ids[:OPENING]) for branch in made.branches}) == 1
    assert len({tuple(branch.input_ids) for branch in made.branches}) == 100
    assert generate.prompts_of(made).common == len(made.prefix_ids) + OPENING


def test_a_model_that_cannot_share_has_nothing_to_compare():
    model, _ = small(attn_implementation="eager")
    with pytest.raises(SkyEyeError, match="cannot share"):
        bench_generate(model, [group("a", 3, [(5, 2)])])


@pytest.mark.parametrize("distribution", ["rsvqa", None])
def test_command_on_a_recipe(recipe, tmp_path, capsys, distribution):
    """Made questions and the recipe's own data, both with the sizes of the recipe."""
    out = tmp_path / "out" / "bench.json"
    chosen = ["--distribution", distribution] if distribution else []
    arguments = ["bench", "generate", str(recipe()), *chosen, "--json", str(out), "--images", "2", "--seconds", "1"]
    assert main(arguments) == 0
    result = json.loads(out.read_text())
    assert result["distribution"] == distribution and result["equality"]["answers_differing"] == 0
    assert result["sizes"]["language"]["hidden_size"] == 16 and result["sizes"]["images"] == 2
    assert result["sizes"]["samples"] == 200 if distribution else result["sizes"]["samples"] > 2
    assert f"{result['ratio_samples_per_second']['median']} x" in capsys.readouterr().out


def test_command_refuses_no_rows(capsys):
    assert main(["bench", "generate", "--rows", "0"]) == 2
    assert "--rows" in capsys.readouterr().err
