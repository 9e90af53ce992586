"""A conversation about a picture: what the model is shown, what is remembered, what is told."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from skyeye.errors import SkyEyeError
from skyeye.models.pretrained import open_checkpoint
from skyeye.serve import chat
from skyeye.serve.answer import LocatedBox
from skyeye.serve.chat import Chat, converse
from skyeye.serve.model import Model

QUESTION = "how many ships are there?"
ANSWERS = ["two white ships", "<p>a ship</p> {<10><20><40><70>}", ""]


def test_beyond_the_length_of_the_model_the_oldest_turns_go(model, picture):
    conversation = model.chat(picture)
    answers = [conversation.ask(QUESTION, max_new_tokens=8) for _ in range(20)]
    assert all(answer.notes == () for answer in answers[:2])
    assert "no longer in view: the model reads 120 tokens" in answers[-1].notes[0]
    assert 1 < len(conversation.turns) < 20
    assert all(answer.prompt_tokens + 8 <= 120 for answer in answers)
    with pytest.raises(SkyEyeError, match=r"the prompt has [\d,]+ tokens with its images, the model reads 120"):
        conversation.ask("ships " * 10_000)
    assert conversation.turns[-1].question == QUESTION, "the turns stay when a question is refused"


def test_history_is_in_the_prompt_in_the_layout_of_training(model, says, picture):
    given = says(ANSWERS)
    conversation = model.chat(picture)
    first = conversation.ask(f"  [vqa] {QUESTION}  ")
    second = conversation.ask("where are they?")
    assert first.text == "two white ships" and first.boxes == ()
    assert second.boxes == (LocatedBox("a ship", (4.0, 6.0, 16.0, 21.0)),)
    (ids_1, group), (ids_2, _) = given
    assert group.image_features.shape == (1, 2, 8) and group.max_new_tokens == [120 - len(ids_1)]
    assert ids_1.count(-1) == ids_2.count(-1) == 2  # -1 stands for an image token
    decode = model.processor.tokenizer.decode
    behind_the_image = len(ids_1) - ids_1[::-1].index(-1)
    assert decode(ids_1[behind_the_image:]) == "</Img> [vqa] how many ships are there? [/INST]"
    assert first.prompt == "<s><s>[INST] <Img><ImageHere></Img> [vqa] how many ships are there? [/INST]"
    assert ids_2[: len(ids_1)] == ids_1
    assert decode(ids_2[len(ids_1) :]) == "two white ships</s><s> [INST] where are they? [/INST]"
    conversation.forget()
    assert conversation.ask(f"[vqa] {QUESTION}").text == ""
    assert given[2][0] == ids_1


def test_new_and_another_picture_begin_anew(model, says, picture):
    given = says(["one", "two", "three"])
    conversation = model.chat(picture)
    conversation.ask(QUESTION)
    assert conversation.ask(" /new ").notes == ("the conversation begins anew",) and conversation.turns == []
    conversation.ask(QUESTION)
    conversation.show(Image.new("RGB", (30, 30), "red"))
    conversation.ask(QUESTION)
    assert given[0][0] == given[1][0] == given[2][0]
    features = [group.image_features for _, group in given]
    assert torch.equal(features[0], features[1]) and not torch.equal(features[0], features[2])


def test_empty_questions_are_refused(model, picture):
    conversation = model.chat(picture)
    with pytest.raises(SkyEyeError, match="the question is empty"):
        conversation.ask("  ")
    assert conversation.turns == []


def test_conversation_in_the_terminal(model, says, picture, monkeypatch, capsys, tmp_path):
    says(ANSWERS)
    conversation = model.chat(picture)
    lines = iter([QUESTION, "where are they?", "/new", "and now?", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    converse(conversation, tmp_path / "harbor.jpg", tmp_path)
    said = capsys.readouterr().out
    assert "two white ships" in said and "(no words)" in said
    assert f"drawn: {tmp_path / 'harbor-1.png'}" in said and (tmp_path / "harbor-1.png").is_file()
    assert len(conversation.turns) == 1


def test_questions_on_the_command_line_are_answered_each_for_itself(
    parts, model, says, picture, monkeypatch, capsys, tmp_path
):
    given = says(ANSWERS)
    (tmp_path / "p-1.png").write_bytes(b"kept")
    picture.save(tmp_path / "p.png")
    monkeypatch.setattr(chat, "open_to_answer", lambda *_: parts)
    chat.chat("checkpoint", tmp_path / "p.png", [QUESTION, "where are they?"], tmp_path)
    assert "> where are they?\n<p>a ship</p>" in capsys.readouterr().out
    assert given[1][0].count(model.processor.tokenizer.eos_token_id) == 0
    assert (tmp_path / "p-1.png").read_bytes() == b"kept" and (tmp_path / "p-2.png").is_file()


def test_a_checkpoint_directory_opens_and_wrong_input_is_named(parts, picture, tmp_path):
    for part in parts:
        part.save_pretrained(tmp_path / "model")
    picture.save(tmp_path / "p.png")
    opened = Chat(Model(*open_checkpoint(tmp_path / "model")), tmp_path / "p.png")
    assert opened.ask(QUESTION, max_new_tokens=9) == Model(*parts).ask(picture, QUESTION, max_new_tokens=9)
    with pytest.raises(SkyEyeError, match="not a checkpoint directory: no config.json"):
        chat.chat(tmp_path, tmp_path / "p.png", [QUESTION], tmp_path)
    with pytest.raises(SkyEyeError, match="the image is missing"):
        chat.chat(tmp_path / "model", tmp_path / "gone.png", [QUESTION], tmp_path)
    (tmp_path / "half.png").write_bytes((tmp_path / "p.png").read_bytes()[:300])
    with pytest.raises(SkyEyeError, match="half.png"):
        chat.chat(tmp_path / "model", tmp_path / "half.png", [QUESTION], tmp_path)
