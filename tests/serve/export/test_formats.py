"""A checkpoint handed on, by the command: the files, their card, and what is refused."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from skyeye import cli
from skyeye.eval.files import checkpoint_fingerprint
from skyeye.eval.results import BenchmarkResult, EvalResults, MetricValue, Protocol, write_scores
from skyeye.models.pretrained import open_checkpoint
from skyeye.serve.export.formats import Exporting, export
from skyeye.serve.export.verify import check_files

RECIPE = {
    "name": "harbour",
    "output_dir": "/home/somebody/runs/harbour",
    "stages": [{"name": "adapt", "steps": 30, "vision": "frozen", "projector": "full", "language": "lora"}],
    "sources": {"lr": {"format": "rsvqa", "path": "/data/RSVQA_LR"}, "unused": {"format": "coco", "path": "x"}},
    "model": {"vision": {"weights": "eva_vit_g.pth"}, "language": {"pretrained": "meta-llama/Llama-2-7b-chat-hf"}},
}
RECIPE["stages"][0]["mixture"] = [{"source": "lr", "weight": 2.0, "tasks": ["vqa", "count"]}]


@pytest.fixture
def checkpoint(whole):
    """With the words of another machine in its recipe."""
    (whole / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    (whole / "manifest.json").write_text(json.dumps({"stage": "adapt", "seed": 7}))
    return whole


def scores_of(checkpoint, path, **about):
    protocol = Protocol("RSVQA", "vqa", "accuracy", "?", "greedy", "exact", "bootstrap over images")
    metrics = {"accuracy": MetricValue(57.285, 55.7, low=55.489, high=59.2)}
    result = BenchmarkResult(metrics, {"records": 501, "images": 5}, protocol)
    about = {"checkpoint": "x", "fingerprint": checkpoint_fingerprint(checkpoint), "dtype": "float32", **about}
    write_scores(path, EvalResults({"rsvqa_lr": result}, about))


def test_a_folder_with_card_and_checksums(checkpoint, tmp_path, capsys):
    scores_of(checkpoint, checkpoint.parents[1] / "scores.json")
    out = tmp_path / "out"
    assert cli.main(["export", str(checkpoint), str(out), "--merged", "--dtype", "fp32"]) == 0
    told = capsys.readouterr().out
    assert "recipe.yaml: output_dir is harbour now, a path of this machine before" in told
    assert not check_files(out)
    card, head = (out / "README.md").read_text(), ModelCard.load(out / "README.md").data.to_dict()
    assert head["license"] == "other" and head["base_model"] == ["meta-llama/Llama-2-7b-chat-hf"]
    assert (head["library_name"], head["pipeline_tag"]) == ("skyeye", "image-text-to-text")
    assert "| rsvqa_lr | accuracy | 57.3 | 55.5 – 59.2 | 55.7 | 501 |" in card
    assert "| adapt | vision: frozen, projector: full, language: lora | lr (2.0: vqa count) | 30 steps |" in card
    assert "| pretrained part eva_vit_g.pth | MIT | https://github.com/baaivision/EVA/blob/master/LICENSE |" in card
    assert "| data lr (format rsvqa) | not known here | look at https://" in card and "unused" not in card
    assert "> A licence of a pretrained part or data set is not known here" in card
    assert "fp32, adapters merged" in card and "after stage `adapt`" in card
    assert "/home/" not in card and "/home/" not in (out / "recipe.yaml").read_text()
    for block in re.findall(r"```python\n(.*?)```", card, re.S):
        compile(block, "README.md", "exec")
    assert len({file.stat().st_mode for file in out.iterdir()}) == 1, "who may read the card may read the weights"
    assert not any(".lora_" in name for name in load_file(out / "model.safetensors"))
    assert cli.main(["export", str(checkpoint), str(out)]) == 2 and "exists already" in capsys.readouterr().err


def test_scores_of_other_weights_are_not_taken_unless_they_are_named(checkpoint, tmp_path):
    scores_of(checkpoint, checkpoint.parents[1] / "scores.json", fingerprint="0" * 64)
    told = export(checkpoint, tmp_path / "a")
    assert any("is of other weights" in each for each in told)
    assert "None were at hand" in (tmp_path / "a/README.md").read_text()
    told = export(checkpoint, tmp_path / "b", Exporting(scores=checkpoint.parents[1] / "scores.json", licence="mit"))
    assert any("do not say that they are of these weights" in each for each in told)
    assert "57.3" in (tmp_path / "b/README.md").read_text()
    assert ModelCard.load(tmp_path / "b/README.md").data.license == "mit"


def test_a_checkpoint_without_recipe(checkpoint, tmp_path):
    for name in ("recipe.yaml", "manifest.json"):
        (checkpoint / name).unlink()
    export(checkpoint, tmp_path / "out")
    assert "what it was trained on is not known here" in (tmp_path / "out/README.md").read_text()
    assert not check_files(tmp_path / "out")


def test_what_ends_an_answer_is_said(checkpoint, tmp_path):
    """What generates with the folder by itself (transformers, vLLM) reads it from here."""
    export(checkpoint, tmp_path / "usual", Exporting(merged=True))
    assert json.loads((tmp_path / "usual/generation_config.json").read_text())["eos_token_id"] == 2
    file = checkpoint / "processor_config.json"
    settings = json.loads(file.read_text())
    settings["prompt"]["end_symbol"] = "[/INST]"
    file.write_text(json.dumps(settings))
    export(checkpoint, tmp_path / "own", Exporting(merged=True))
    vocabulary = json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]
    ends = json.loads((tmp_path / "own/generation_config.json").read_text())["eos_token_id"]
    assert ends == [2, vocabulary["▁[/INST]"]]


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_in_few_bits(checkpoint, tmp_path):
    """The model's layers are narrower than a block of 64, so they stay; the words of the card do not depend on it."""
    export(checkpoint, tmp_path / "out", Exporting(quantize="int8"))
    assert "in int8 (bitsandbytes), the rest bf16, adapters merged" in (tmp_path / "out/README.md").read_text()


def test_the_reference_s_file(checkpoint, tmp_path):
    export(checkpoint, tmp_path / "out", Exporting("minigpt_v2"))
    held = torch.load(tmp_path / "out/model.pth", weights_only=True)["model"]
    assert "llama_proj.weight" in held and any("lora_" in name for name in held)
    assert not check_files(tmp_path / "out")
    assert "model.pth --base RECIPE" in (tmp_path / "out/README.md").read_text()


def test_a_plain_llava_folder(llava_shaped, tmp_path):
    export(llava_shaped, tmp_path / "out", Exporting("llava"))
    assert not check_files(tmp_path / "out")
    assert ModelCard.load(tmp_path / "out/README.md").data.library_name == "transformers"
    card = (tmp_path / "out/README.md").read_text()
    assert 'pipeline("image-text-to-text", model="THIS_FOLDER")' in card and "import skyeye" not in card


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--format peft", "holds its language model itself"),
        ("--format peft --merged", "peft is the adapters; merged, they are not there"),
        ("--format minigpt_v2 --quantize int8", "minigpt_v2 has no weights in int8"),
        ("--format llava", "LlavaForConditionalGeneration has no place for that"),
        ("--model nothing", "no model of the list is called 'nothing'"),
        ("--scores nowhere.json", "nowhere.json"),
    ],
)
def test_what_has_no_place_is_refused_and_leaves_nothing(checkpoint, tmp_path, capsys, arguments, words):
    out = tmp_path / "out"
    assert cli.main(["export", str(checkpoint), str(out), *arguments.split()]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists() and not list(tmp_path.glob(".out*"))


def test_adapters_alone_name_their_base_without_its_folder(tmp_path, based):
    """The base lay at a path of one machine: the export keeps its fingerprint and opens with a recipe that knows it."""
    trained, config = based
    export(trained, tmp_path / "out", Exporting("peft"))
    assert not check_files(tmp_path / "out")
    base = json.loads((tmp_path / "out/base.json").read_text())
    assert base["language"]["source"] == "llama" and len(base["language"]["fingerprint"]) == 16
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["base_model_name_or_path"] == "llama"
    assert "`base.json` names them with a fingerprint" in (tmp_path / "out/README.md").read_text()
    expected = open_checkpoint(trained)[0].state_dict()
    found = open_checkpoint(tmp_path / "out", base=config)[0].state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], t) for name, t in expected.items())
