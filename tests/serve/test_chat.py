"""A conversation about a picture: what the model is shown, what is remembered, what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    ModelConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.data.geometry.boxes import Box
from skyeye.data.prompts import MiniGPTv2
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import train_tokenizer
from skyeye.serve import chat
from skyeye.serve.chat import ChatSession, converse, labelled_boxes
from skyeye.serve.draw import COLOURS, draw_boxes

WORDS = ["how many ships are there?", "two white ships", "where are they? {<10><20><40><70>}", "<p>a ship</p>"]


@pytest.fixture(scope="module")
def parts():
    """A random model of a few thousand parameters, and its processor."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(WORDS, 800)
    config = ModelConfig(
        vision=VisionConfig(image_size=28, patch_size=14, width=8, depth=1, heads=2, mlp_ratio=2.0),
        projector=LinearProjectorConfig(join_tokens=2),
        language=LanguageConfig(
            config={
                "model_type": "llama",
                "hidden_size": 8,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "max_position_embeddings": 120,
            }
        ),
        lora=LoraConfig(r=2),
        prompt=PromptConfig(),
    )
    return build_model(config, tokenizer), SkyEyeProcessor.from_config(config, tokenizer)


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))


@pytest.fixture
def session(parts, picture, monkeypatch):
    """A session whose model answers from a list and notes what it was given."""
    model, processor = parts
    session = ChatSession(model, processor, picture)
    session.answers, session.calls = ["two white ships", "<p>a ship</p> {<10><20><40><70>}", ""], []

    def generate(input_ids, **arguments):
        session.calls.append((input_ids[0].tolist(), arguments))
        text = session.answers[len(session.calls) - 1]
        ids = processor.tokenizer.encode(text, add_special_tokens=False)
        return torch.tensor([[*ids, processor.tokenizer.eos_token_id, 0]])

    monkeypatch.setattr(model, "generate", generate)
    return session


def test_a_real_model_answers_with_at_most_what_it_can_read(parts, picture):
    session = ChatSession(*parts, picture)
    answer = session.ask("how many ships are there?")
    assert isinstance(answer.text, str) and [turn.question for turn in session.turns] == ["how many ships are there?"]
    with pytest.raises(SkyEyeError, match="the model reads 120"):
        for _ in range(20):
            session.ask("how many ships are there?")


def test_the_same_picture_gives_the_same_answer_and_another_is_seen(parts, picture):
    model, processor = parts
    pixels = processor.pixels(picture)[None]
    features = ChatSession(*parts, picture)._features
    assert torch.equal(features, model.encode_images(pixels))
    assert not torch.equal(features, ChatSession(*parts, Image.new("RGB", (30, 30), "red"))._features)


def test_history_is_in_the_prompt_in_the_layout_of_training(session):
    first = session.ask("  [vqa] how many ships are there?  ")
    second = session.ask("where are they?")
    assert first.text == "two white ships" and first.boxes == ()
    assert second.boxes == (("a ship", Box(0.1, 0.2, 0.4, 0.7)),)
    (ids_1, given), (ids_2, _) = session.calls
    assert given["do_sample"] is False and given["image_features"].shape == (1, 2, 8)
    assert ids_1.count(-1) == ids_2.count(-1) == 2  # -1 stands for an image token
    decode = session.processor.tokenizer.decode
    behind_the_image = len(ids_1) - ids_1[::-1].index(-1)
    assert decode(ids_1[behind_the_image:]) == "</Img> [vqa] how many ships are there? [/INST]"
    assert ids_2[: len(ids_1)] == ids_1
    assert decode(ids_2[len(ids_1) :]) == "two white ships</s><s> [INST] where are they? [/INST]"
    session.forget()
    assert session.ask("[vqa] how many ships are there?").text == ""
    assert session.calls[2][0] == ids_1


def test_empty_questions_are_refused(session):
    with pytest.raises(SkyEyeError, match="the question is empty"):
        session.ask("  ")
    assert session.turns == [] and session.calls == []


def test_boxes_find_their_phrases():
    text = "{<1><2><3><4>} and <p>two ships</p> {<10><20><40><70>}<delim>{<50><50><60><60>}<p>a dock</p> {<5><5>}"
    assert labelled_boxes(text, MiniGPTv2()) == [
        ("", Box(0.01, 0.02, 0.03, 0.04)),
        ("two ships", Box(0.1, 0.2, 0.4, 0.7)),
        ("two ships", Box(0.5, 0.5, 0.6, 0.6)),
    ]
    assert labelled_boxes("two white ships", MiniGPTv2()) == []


def test_a_box_is_drawn_where_it_is(tmp_path):
    image = Image.new("RGB", (100, 200), "green")
    out = draw_boxes(image, [("", Box(0.2, 0.5, 0.6, 0.75))], tmp_path / "new" / "a.png")
    drawn = np.asarray(Image.open(out))
    assert drawn.shape == (1000, 500, 3)  # five times as large: the shorter side would be below 448
    red = np.argwhere((drawn == (0xFF, 0x3B, 0x30)).all(-1))
    expected = [0.5 * 999, 0.2 * 499, 0.75 * 999, 0.6 * 499]
    assert [*red.min(0), *red.max(0)] == pytest.approx(expected, abs=1)
    assert image.getpixel((20, 100)) == (0, 128, 0)  # the picture itself is untouched


def test_phrases_have_colours_and_labels_stay_inside(tmp_path):
    boxes = [("", Box(0.0, 0.0, 1.5, 0.3)), ("a long dock on the right", Box(0.9, -0.2, 1.0, 0.9))]
    drawn = np.asarray(Image.open(draw_boxes(Image.new("RGB", (448, 448)), boxes, tmp_path / "a.png")))
    first, second = (np.argwhere((drawn == [int(c[i : i + 2], 16) for i in (1, 3, 5)]).all(-1)) for c in COLOURS[:2])
    assert first[:, 0].max() == pytest.approx(0.3 * 447, abs=1) and first[:, 1].max() > 440
    # The second box begins at 402 of 448: its label would leave the picture, above and to the right.
    assert second[:, 0].min() == 0 and second[:, 1].min() < 350 and len(second) > 1500


def test_conversation_in_the_terminal(session, picture, monkeypatch, capsys, tmp_path):
    lines = iter(["how many ships are there?", "where are they?", "/new", "and now?", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    converse(session, tmp_path / "harbor.jpg", tmp_path)
    said = capsys.readouterr().out
    assert "two white ships" in said and "(no words)" in said
    assert f"drawn: {tmp_path / 'harbor-1.png'}" in said and (tmp_path / "harbor-1.png").is_file()
    assert len(session.turns) == 1


def test_questions_on_the_command_line_are_answered_each_for_itself(session, monkeypatch, capsys, tmp_path):
    (tmp_path / "p-1.png").write_bytes(b"kept")
    monkeypatch.setattr(ChatSession, "open", lambda *_: session)
    chat.chat("checkpoint", tmp_path / "p.jpg", ["how many ships are there?", "where are they?"], tmp_path)
    assert "> where are they?\n<p>a ship</p>" in capsys.readouterr().out
    assert len(session.turns) == 1 and session.calls[1][0].count(session.processor.tokenizer.eos_token_id) == 0
    assert (tmp_path / "p-1.png").read_bytes() == b"kept" and (tmp_path / "p-2.png").is_file()


def test_a_checkpoint_directory_opens_and_wrong_input_is_named(parts, picture, tmp_path):
    for part in parts:
        part.save_pretrained(tmp_path / "model")
    picture.save(tmp_path / "p.png")
    opened = ChatSession.open(tmp_path / "model", tmp_path / "p.png")
    question = "how many ships are there?"
    assert opened.ask(question) == ChatSession(*parts, picture).ask(question)
    with pytest.raises(SkyEyeError, match="not a checkpoint directory: no config.json"):
        ChatSession.open(tmp_path, tmp_path / "p.png")
    with pytest.raises(SkyEyeError, match="the image is missing"):
        ChatSession.open(tmp_path / "model", tmp_path / "gone.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "p.png").read_bytes()[:300])
    with pytest.raises(SkyEyeError, match="half.png"):
        ChatSession.open(tmp_path / "model", tmp_path / "half.png")
