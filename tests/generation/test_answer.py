from __future__ import annotations

import json

import pytest
import torch

from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    ModelConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.eval.benchmarks import select
from skyeye.eval.evaluate import evaluate, prepare
from skyeye.eval.files import checkpoint_fingerprint
from skyeye.eval.settings import EvalSettings
from skyeye.generation import answer as generate
from skyeye.generation.answer import answer
from skyeye.generation.limit import tokens_read
from skyeye.models.build import build_model
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import train_tokenizer

LANGUAGE = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
}


@pytest.fixture(params=["reference", "training"])
def parts(request):
    """A random model that gives different answers to different pictures and questions, and its processor."""
    torch.manual_seed(5)
    tokenizer = train_tokenizer(
        ["[vqa] is there a plane ? yes no", "[refer] where is the ship ? {<1><2><3><4>}"] * 3, 520
    )
    config = ModelConfig(
        vision=VisionConfig(image_size=28, patch_size=14, width=16, depth=1, heads=2, mlp_ratio=2.0),
        projector=LinearProjectorConfig(join_tokens=1),
        language=LanguageConfig(config=LANGUAGE),
        lora=LoraConfig(r=2, alpha=4),
        prompt=PromptConfig(evaluation_layout=request.param),
    )
    model = build_model(config, tokenizer).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return model, SkyEyeProcessor.from_config(config, tokenizer)


@pytest.fixture
def records(world) -> list[Record]:
    """Questions of several lengths, about one image, several frames, and none."""
    names = ("synth.vqa", "synth.refer", "synth.frames")
    tasks = [prepare(benchmark, world, EvalSettings(limit=14, controls=False)) for benchmark in select(names)]
    text_only = Record("t", "s", "vqa", "test", (), (Turn("is there a plane ?", "no", "vqa"),))
    return [record for task in tasks for record in task.seen] + [text_only]


def asked_alone(model, processor, record: Record) -> str:
    """What ``generate`` answers to one question, without any other beside it."""
    images = list(record.images)
    pixels = {"pixel_values": torch.stack([processor.pixels(path) for path in images])} if images else {}
    ids = torch.tensor([processor.builder.prompt(len(images), record.turns[:1])])
    end = processor.tokenizer.eos_token_id
    return processor.decode(model.generate(ids, **pixels, max_new_tokens=6, eos_token_id=end, pad_token_id=end)[0])


@pytest.mark.parametrize("attention", ["shared", "eager"])
def test_answers_are_those_to_each_question_alone(parts, records, attention):
    model, processor = parts
    if attention == "eager":
        model.language_model.set_attn_implementation("eager")
    alone = [asked_alone(model, processor, record) for record in records]
    assert len(set(alone)) > 5, "the model says the same to everything: the test would prove nothing"
    for batch_size in (1, 3, 16, 100):
        assert answer(*parts, records, batch_size=batch_size, max_new_tokens=6) == alone
    assert answer(*parts, records[::-1], batch_size=5, max_new_tokens=6) == alone[::-1]


def test_every_image_is_encoded_once(parts, records, monkeypatch):
    model, processor = parts
    encoded = []
    encode_images = model.encode_images

    def counted(pixel_values):
        encoded.append(len(pixel_values))
        return encode_images(pixel_values)

    monkeypatch.setattr(model, "encode_images", counted)
    read = []
    pixels = processor.pixels
    monkeypatch.setattr(processor, "pixels", lambda path: read.append(path) or pixels(path))
    distinct = {path for record in records for path in record.images}
    assert max(len(record.images) for record in records) > 2
    again = Record("p", "s", "vqa", "test", (records[0].images[0], min(distinct)), records[0].turns)
    records = [*records, again]
    for batch_size in (2, 8):
        encoded.clear(), read.clear()
        answer(model, processor, records, batch_size=batch_size, max_new_tokens=1)
        assert sum(encoded) == len(distinct) and sorted(read) == sorted(distinct)
        assert max(encoded) <= batch_size


def test_few_encoded_images_are_kept(parts, records, monkeypatch):
    """With room for none, an image that comes again behind others is read and encoded again; answers stay."""
    model, processor = parts
    images = list(dict.fromkeys(path for record in records for path in record.images))
    pair = Record("p", "s", "vqa", "test", (images[0], images[-1]), records[0].turns)
    asked = [*records, pair]
    expected = answer(model, processor, asked, batch_size=2, max_new_tokens=4)
    encoded = []
    encode_images = model.encode_images
    monkeypatch.setattr(model, "encode_images", lambda pixels: encoded.append(len(pixels)) or encode_images(pixels))
    monkeypatch.setattr(generate, "KEPT_IMAGES", 0)
    assert answer(model, processor, asked, batch_size=2, max_new_tokens=4) == expected
    assert sum(encoded) > len({path for record in asked for path in record.images})
    encoded.clear()
    first, second = (Record(image, "s", "vqa", "test", (image,), pair.turns) for image in pair.images)
    answer(model, processor, [first, pair, second], batch_size=1, max_new_tokens=1)
    assert sum(encoded) == 2, "what the next question shows again is kept"


def test_an_unreadable_image_is_an_error_not_a_hang(parts, records, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = Record("b", "s", "vqa", "test", (str(tmp_path / "broken.png"),), records[0].turns)
    with pytest.raises(SkyEyeError, match="broken.png"):
        answer(*parts, [*records, broken], batch_size=4, max_new_tokens=2)


def test_no_records_no_answers(parts):
    assert answer(*parts, []) == []


@pytest.mark.usefixtures("without_java")
def test_a_saved_model_is_evaluated_the_same_for_any_batch_size(parts, world, tmp_path, read_jsonl):
    model, processor = parts
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    results = []
    for batch_size in (1, 7):
        out = tmp_path / f"out{batch_size}"
        scores = evaluate(
            tmp_path / "model",
            ["synth.refer", "synth.caption"],
            world,
            out,
            EvalSettings(limit=6, batch_size=batch_size, max_new_tokens=5),
        )
        rows = {path.name: read_jsonl(path) for path in sorted((out / "predictions").glob("*.jsonl"))}
        about = scores.about
        results.append((scores.benchmarks, rows))
        assert (out / "report.html").is_file() and (out / "scores.md").is_file()
    assert results[0] == results[1]
    assert about["parameters"] == sum(p.numel() for n, p in model.named_parameters() if ".lora_" not in n)  # merged
    assert about["fingerprint"] == checkpoint_fingerprint(tmp_path / "model")
    assert {row["answer"] for row in rows["synth.refer.jsonl"]} != {""}


@pytest.mark.usefixtures("without_java")
def test_without_images_a_question_has_one_answer_whatever_the_picture(parts, world, tmp_path, read_jsonl):
    """The control of a text-only model; what was answered with the pictures in the same folder is not taken for it."""
    model, processor = parts
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")

    def ask(images: bool) -> list[dict]:
        settings = EvalSettings(max_new_tokens=5, images=images)
        scores = evaluate(tmp_path / "model", ["synth.caption"], world, tmp_path / "out", settings)
        result = scores.benchmarks["synth.caption"]
        assert scores.about["images"] is images and ("without the images" in result.protocol.decoding) is not images
        assert (result.main.shuffled_images is None) is not images
        return read_jsonl(tmp_path / "out" / "predictions" / "synth.caption.jsonl")

    seen, blind = ask(images=True), ask(images=False)
    assert len({row["answer"] for row in seen}) > 1  # every picture is asked the same
    assert len({row["answer"] for row in blind}) == 1 and len(blind) == len(seen) == 4
    assert [row["images"] for row in blind] == [row["images"] for row in seen]


@pytest.mark.usefixtures("without_java")
def test_another_model_or_prompt_in_the_same_folder_is_asked_anew(parts, world, tmp_path, read_jsonl):
    """Answers are found again by model and question; of another model, or to another prompt, none is."""
    model, processor = parts
    processor.save_pretrained(tmp_path / "model")

    def ask(**options) -> list[dict]:
        model.save_pretrained(tmp_path / "model")
        settings = EvalSettings(limit=6, max_new_tokens=5, controls=False, **options)
        evaluate(tmp_path / "model", ["synth.vqa"], world, tmp_path / "out", settings)
        return read_jsonl(tmp_path / "out" / "predictions" / "synth.vqa.jsonl")

    first = ask()
    prompted = ask(prompts={"synth.vqa": "[refer] say: {question}"})
    assert [row["question"] for row in prompted] == [
        row["question"].replace("[vqa] ", "[refer] say: ") for row in first
    ]
    assert [row["answer"] for row in prompted] != [row["answer"] for row in first]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.neg_()
    assert [row["answer"] for row in ask()] != [row["answer"] for row in first]
    before = [row["answer"] for row in ask()]
    config = tmp_path / "model" / "processor_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "image_mean": [9.0, -9.0, 9.0]}))
    assert len(list((tmp_path / "out" / "answers").iterdir())) == 2
    assert [row["answer"] for row in ask()] != before
    assert len(list((tmp_path / "out" / "answers").iterdir())) == 3
    assert ask(recipe_prompts={"synth.scene": "x"})
    with pytest.raises(SkyEyeError, match="a prompt for synth.scene, which is not asked"):
        ask(prompts={"synth.scene": "x"})


def test_answers_that_were_cut_off_are_told(parts, records):
    model, processor = parts
    replies = dict(generate.answers_as_ready(model, processor, records, max_new_tokens=1))
    cut = {i for i, reply in replies.items() if reply.cut}
    ended = {i for i, reply in replies.items() if not reply.text}  # one token, and it is the end
    assert cut and cut | ended == set(range(len(records)))


def test_a_question_longer_than_the_model_reads_is_refused_before_any_answer(parts, records, monkeypatch):
    model, processor = parts
    turn = Turn("is there a plane ? " * 200, "no", "vqa")
    long = Record("the long one", "s", "vqa", "test", records[0].images, (turn,))
    monkeypatch.setattr(generate, "answer_groups", lambda *_, **__: pytest.fail("something was answered"))
    with pytest.raises(SkyEyeError, match=r"record the long one: the prompt has .* tokens .*, the model reads 256"):
        answer(model, processor, [*records, long])


def test_an_answer_has_no_more_room_than_the_model_reads(parts):
    model, _ = parts
    assert generate.room_for_answer(tokens_read(model), [1] * 250, 20, "x") == 6
    assert generate.room_for_answer(tokens_read(model), [1] * 200, 20, "x") == 20
