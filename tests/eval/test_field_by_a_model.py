"""The benchmarks of the field asked of a model of this project, end to end: a tiny one that says the same box to
whatever it is asked, each of its tokens with a probability that arithmetic knows."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from skyeye.config.schema import LanguageConfig, LinearProjectorConfig, LoraConfig, ModelConfig, VisionConfig
from skyeye.data.record import Record, Turn
from skyeye.eval.evaluate import evaluate
from skyeye.eval.settings import EvalSettings
from skyeye.generation.answer import answers_as_ready
from skyeye.models.build import build_model
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import train_tokenizer
from tests.eval.benchmarks.field_sets import changes, choices, pictures, put, vhm

BOX = "{<10><20><30><40>}"
WIDTH = 32
pytestmark = pytest.mark.usefixtures("without_java")


@pytest.fixture(scope="module")
def parts():
    """A model whose next token follows from the last one alone: its layers add nothing, embeddings of the tokens of the
    answer stand on axes of their own, and the head gives the next of them a logit of 3 (the end of the box: 1), all
    others 0."""
    tokenizer = train_tokenizer(["how many ships are there in this picture"], 700)
    language = {"model_type": "llama", "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 1}
    language |= {"num_attention_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-9}
    config = ModelConfig(
        vision=VisionConfig(image_size=28, patch_size=14, width=8, depth=1, heads=2, mlp_ratio=2.0),
        projector=LinearProjectorConfig(join_tokens=4),
        language=LanguageConfig(config=language),
        lora=LoraConfig(r=2),
    )
    model, processor = build_model(config, tokenizer).eval(), SkyEyeProcessor.from_config(config, tokenizer)
    said = tokenizer.encode(BOX, add_special_tokens=False)
    begin = processor.builder.prompt(1, [Turn("?", "", "vqa")])[-1]
    chain = [begin, *said, processor.builder.end_token_ids[0]]
    assert len(set(chain)) == len(chain) and tokenizer.decode(said) == BOX
    with torch.no_grad():
        for name, parameter in model.language_model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.zero_()
        embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        head.zero_()
        for axis, (token, following) in enumerate(pairwise(chain)):
            embeddings[token] = torch.eye(WIDTH)[axis]
            logit = 1.0 if following == said[-1] else 3.0
            head[following] = torch.eye(WIDTH)[axis] * logit / math.sqrt(WIDTH)
    return model, processor


def certainty(model) -> float:
    """The geometric mean of five probabilities e^3 / (e^3 + V - 1) and one e / (e + V - 1)."""
    others = model.get_output_embeddings().weight.shape[0] - 1
    likely, unlikely = (math.exp(logit) / (math.exp(logit) + others) for logit in (3, 1))
    return (likely**5 * unlikely) ** (1 / 6)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Folders in the published layouts; of DOTA two pictures, with a ship where the model says it, and a plane."""
    folder = tmp_path_factory.mktemp("field")
    for write in (choices, vhm, changes):
        write(folder)
    ship, plane = "10 20 30 20 30 40 10 40 ship 0\n", "50 50 70 50 70 70 50 70 plane 0\n"
    put(folder / "DOTA/val/labelTxt/P1.txt", ship + plane)
    put(folder / "DOTA/val/labelTxt/P2.txt", ship)
    pictures(folder / "DOTA/val/images", ("P1.png", "P2.png"))
    return folder


def test_a_model_is_asked_and_scored_whatever_the_kind(parts, root, tmp_path, read_jsonl):
    model, processor = parts
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    names = ["lhrs_bench", "dota.detect", "dota.count", "levir_cc", "vhm.counting", "vhm.gsd"]
    scores = evaluate(tmp_path / "model", names, root, tmp_path / "out", EvalSettings()).benchmarks
    assert list(scores) == names

    def value(name: str, metric: str) -> float | None:
        return scores[name].metrics[metric].value

    # two questions with three options, turned; the numbers of the box are no letter
    circular = scores["lhrs_bench"]
    assert circular.counts["records"] == circular.counts["answers that name no option"] == 6
    assert circular.main.value == 0 and value("lhrs_bench", "chance") == pytest.approx(100 / 3, abs=1e-3)
    # 15 classes of two pictures: both ships are found by it, the plane is not
    found = scores["dota.detect"]
    assert (found.main.value, found.main.shuffled_images) == (50, 50)
    assert found.counts["found boxes"] == 30 and found.counts["true boxes"] == 3
    assert any("scores of boxes: token certainty" in note for note in found.protocol.notes)
    rows = read_jsonl(tmp_path / "out" / "predictions" / "dota.detect.jsonl")
    assert [row["answer"] for row in rows] == [BOX] * 30
    assert all(row["scores"] == [pytest.approx(certainty(model), rel=0.02)] for row in rows)
    # the first number is 10: of 3 counts 1 and 27 counts 0; of counts 4 and 10
    assert value("dota.count", "mae") == pytest.approx((3 * 9 + 27 * 10) / 30) and scores["dota.count"].main.value == 0
    assert (value("vhm.counting", "within_1"), value("vhm.counting", "mae")) == (50, 3)
    # four numbers are not one
    assert scores["vhm.gsd"].main.value == 0 and value("vhm.gsd", "mae") is None
    assert scores["vhm.gsd"].counts["answers without these numbers"] == 2
    pairs = read_jsonl(tmp_path / "out" / "predictions" / "levir_cc.jsonl")
    assert [len(row["images"]) for row in pairs] == [2, 2] and scores["levir_cc"].main.value == 0
    assert all("The first image was taken before, the second after." in row["question"] for row in pairs)


def test_tokens_are_told_where_all_objects_of_a_class_are_asked_for(parts, root):
    model, processor = parts
    image = (str(root / "DOTA/val/images/P1.png"),)
    records = [
        Record(task, "", task, "test", image, (Turn("ship", "", task),)) for task in ("detection", "refer", "vqa")
    ]
    replies = dict(answers_as_ready(model, processor, records))
    assert [reply.text for _, reply in sorted(replies.items())] == [BOX] * 3
    assert [len(replies[n].told) for n in range(3)] == [7, 0, 0]  # six tokens and the end
    assert [token.end for token in replies[0].told] == [1, 5, 9, 13, 17, 18, 18]
