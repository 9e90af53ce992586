"""A model that is asked about windows says what it says when it is asked alone, and how sure it is."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.serve.model import Model
from skyeye.serve.scenes.ask import ModelAnswerer

TURNS = [
    Turn("how many ships are there?", "", "vqa"),
    Turn("a ship", "", "refer"),
    Turn("where are they?", "", "detection"),
]


@pytest.fixture
def pictures():
    rng = np.random.default_rng(1)
    return [Image.fromarray(rng.integers(0, 255, (30, 30, 3), dtype=np.uint8)) for _ in range(3)]


@pytest.mark.parametrize("rows", [1, 64])
def test_answers_are_those_of_each_question_alone(parts, pictures, rows):
    answerer = ModelAnswerer(*parts, "name", max_new_tokens=7, rows=rows)
    assert answerer.side == 28
    said = answerer.answer([answerer.prepare(picture) for picture in pictures], TURNS)
    model = Model(*parts)
    for picture, answers in zip(pictures, said, strict=True):
        alone = [model.ask(picture, turn.question, task=turn.task, max_new_tokens=7).text for turn in TURNS]
        assert [answer.text for answer in answers] == alone


def test_the_score_is_the_mean_probability_of_the_tokens(parts, pictures):
    model, processor = parts
    answerer = ModelAnswerer(model, processor, "name", max_new_tokens=4)
    ((said,),) = answerer.answer([answerer.prepare(pictures[0])], TURNS[:1])
    prompt = processor.builder.prompt(1, TURNS[:1])
    features = model.encode_images(processor.pixels(pictures[0])[None])
    likely, ids = [], list(prompt)
    for _ in range(4):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), image_features=features).logits[0, -1].float()
        ids.append(int(logits.argmax()))
        likely.append(math.exp(float(torch.log_softmax(logits, -1).max())))
        if ids[-1] in processor.builder.end_token_ids:
            break
    assert said.score == pytest.approx(sum(likely) / len(likely), abs=2e-4)


def test_boxes_carry_their_phrases(parts, monkeypatch):
    answerer = ModelAnswerer(*parts, "name")
    monkeypatch.setattr(
        answerer.processor, "decode", lambda ids: "<p>two ships</p> {<10><20><40><70>}<delim>{<50><20><60><30>}"
    )
    window = answerer.prepare(Image.new("RGB", (40, 40)))
    ((said,),) = answerer.answer([window], TURNS[2:])
    assert [phrase for phrase, _ in said.boxes] == ["two ships", "two ships"]
    assert [tuple(box) for _, box in said.boxes] == [(0.1, 0.2, 0.4, 0.7), (0.5, 0.2, 0.6, 0.3)]


def test_a_question_that_is_too_long_is_refused_before_any_answer(parts):
    answerer = ModelAnswerer(*parts, "name")
    with pytest.raises(SkyEyeError, match="--ask.*reads 120"):
        answerer.answer([answerer.prepare(Image.new("RGB", (40, 40)))], [Turn("ships " * 200, "", "vqa")])
