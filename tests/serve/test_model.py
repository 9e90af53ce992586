"""A model asked from Python: in shared batches, about regions, several pictures; candidates ranked by their loss."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import skyeye
from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.generation.requests import SharedAnswer
from skyeye.serve.model import Model
from skyeye.serve.pictures import show
from skyeye.serve.read_boxes import read_leniently

QUESTIONS = ["how many ships are there?", "[refer] a ship", "where are they?"]


@pytest.fixture
def pictures(picture):
    return [picture, Image.new("RGB", (30, 30), "red"), picture.rotate(90, expand=True)]


def test_import_is_light_and_load_is_there():
    code = (
        "import sys, skyeye; heavy = {'torch', 'transformers', 'numpy', 'PIL', 'gradio', 'yaml'} & sys.modules.keys();"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
    assert skyeye.load.__module__ == "skyeye.serve.model"
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        skyeye.lode  # noqa: B018


def test_many_questions_in_any_batch_are_answered_as_alone(parts, pictures):
    asked = [(shown, words) for words in QUESTIONS for shown in (*pictures, pictures[:2], None)]
    alone = [Model(*parts).ask(shown, words, max_new_tokens=7) for shown, words in asked]
    for rows in (1, 4, 32):
        assert Model(*parts, rows=rows).ask_many(asked, max_new_tokens=7) == alone
    assert len({answer.text for answer in alone}) > 8, "the model says the same to everything"
    assert {answer.tokens for answer in alone if not answer.ended} == {7}


def test_an_image_is_encoded_once(model, pictures, monkeypatch):
    encoded = []
    encode = model.network.encode_images
    monkeypatch.setattr(model.network, "encode_images", lambda p, q: encoded.append(len(p)) or encode(p, q))
    model.ask_many([(shown, words) for words in QUESTIONS for shown in pictures], max_new_tokens=2)
    assert encoded == [3]
    model.ask(pictures[0].copy(), "again?", max_new_tokens=2)
    model.chat(pictures[1])
    assert encoded == [3], "the same pixels are the same picture"


def test_files_arrays_and_pictures_are_the_same(model, picture, tmp_path):
    picture.save(tmp_path / "p.png")
    kinds = [picture, tmp_path / "p.png", str(tmp_path / "p.png"), np.asarray(picture)]
    assert len({model.ask(kind, QUESTIONS[0], max_new_tokens=5).text for kind in kinds}) == 1
    grey = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    assert show(grey).image.getextrema() == ((0, 255),) * 3, "16 bits are stretched as those of files"
    for odd in (np.zeros((2, 3, 4, 5)), np.zeros((5, 5, 7), np.uint8), np.zeros((0, 5)), np.zeros((3, 3), complex)):
        with pytest.raises(SkyEyeError, match="is no picture"):
            model.ask(odd, "?")
    with pytest.raises(SkyEyeError, match="float is no picture"):
        model.ask(1.5, "?")


def test_a_region_is_written_into_the_question(model, picture):
    def written(*arguments, **named):
        request = model.request(picture, *arguments, **named)
        return model.builder.written(1, request.turns).removesuffix(" [/INST]")

    assert written("[identify]", region=(4, 6, 16, 21)).endswith("[identify] {<10><20><40><70>}")
    assert written("what is <box> ?", region=(16, 21, 4, 6)).endswith("what is {<10><20><40><70>} ?")
    assert written("", task="identify", region=(-9, -9, 4, 3)).endswith("[identify] {<0><0><10><10>}")
    two = written("compare", region=[(0, 0, 4, 3), (4, 3, 8, 6)])
    assert two.endswith("compare {<0><0><10><10>}<delim>{<10><10><20><20>}")
    for region in ((41, 0, 50, 10), (0, 0, 0, 10), (-9, -9, -1, -1)):
        with pytest.raises(SkyEyeError, match="region: .* has no area inside the picture of 40 x 30 pixels"):
            model.request(picture, "[identify]", region=region)
    with pytest.raises(SkyEyeError, match="region: a region without a picture"):
        model.request(None, "[identify]", region=(0, 0, 1, 1))
    with pytest.raises(SkyEyeError, match="is no region"):
        model.request(picture, "[identify]", region=(0, 0, 1))


def test_questions_that_cannot_be_asked_are_refused(model, picture, tmp_path):
    with pytest.raises(SkyEyeError, match=r"the prompt has 10,\d\d\d tokens with its images, the model reads 120"):
        model.ask(picture, "ships " * 10_000)
    with pytest.raises(SkyEyeError, match="the question is empty"):
        model.ask(picture, " ")
    (tmp_path / "a.png").write_bytes(b"%PDF-1.7 and so on")
    with pytest.raises(SkyEyeError, match=r"not an image: it is a PDF document \(save its pictures as PNG\)"):
        model.ask(tmp_path / "a.png", "what?")


def test_candidates_are_ranked_by_their_loss(model, picture):
    candidates = ["two white ships", "a ship", "where are they?", "how"]
    ranked = model.rank(picture, QUESTIONS[0], candidates)
    assert sorted(one.index for one in ranked) == [0, 1, 2, 3]
    assert [one.mean for one in ranked] == sorted(one.mean for one in ranked)
    builder, network = model.builder, model.network
    features = network.encode_images(model.processor.pixels(picture)[None])
    for one in ranked:
        prompt = builder.prompt(1, [Turn(QUESTIONS[0], "")])
        own = builder.tokenizer.encode(candidates[one.index] + "</s>", add_special_tokens=False)
        with torch.no_grad():
            logits = network(torch.tensor([prompt + own]), image_features=features).logits[0]
        expected = [-logits[len(prompt) + n - 1].log_softmax(-1)[token].item() for n, token in enumerate(own)]
        assert one.text == candidates[one.index] and one.tokens == len(own)
        assert one.sum == pytest.approx(sum(expected), rel=1e-4) and one.mean == pytest.approx(one.sum / len(own))
    with pytest.raises(SkyEyeError, match="candidates"):
        model.rank(picture, QUESTIONS[0], ["a", " "])
    with pytest.raises(SkyEyeError, match="the model reads 120"):
        model.rank(picture, QUESTIONS[0], ["ships " * 200])


def test_load_opens_what_a_checkpoint_may_be(parts, picture, tmp_path):
    for part in parts:
        part.save_pretrained(tmp_path / "model")
    opened = skyeye.load(tmp_path / "model", device="cpu")
    assert opened.ask(picture, "what?", max_new_tokens=4) == Model(*parts).ask(picture, "what?", max_new_tokens=4)
    with pytest.raises(SkyEyeError, match="geochat: is a model of the list, whose files have to be given"):
        skyeye.load("geochat")
    with pytest.raises(SkyEyeError, match="no model of the list is called 'geochatt'; did you mean 'geochat'"):
        skyeye.load("geochatt", weights=tmp_path)
    with pytest.raises(SkyEyeError, match="no such checkpoint"):
        skyeye.load(tmp_path / "gone")


def test_an_answer_comes_piece_by_piece(model, picture):
    whole = model.ask(picture, QUESTIONS[0], max_new_tokens=12)
    stream = model.stream(picture, QUESTIONS[0], max_new_tokens=12)
    assert stream.answer is None
    pieces = list(stream)
    assert len(pieces) > 3 and "".join(pieces) == whole.text and stream.answer == whole
    conversation = model.chat(picture)
    stream = conversation.stream(QUESTIONS[0], max_new_tokens=12)
    assert "".join(stream) == whole.text and conversation.turns[-1].answer == whole.text
    assert list(conversation.stream("/new")) == [] and conversation.turns == []


def test_answers_are_drawn_by_seed_and_temperature(model, picture):
    def drawn(**how):
        return model.ask(picture, QUESTIONS[0], max_new_tokens=12, **how).text

    assert drawn(temperature=1.0, seed=3) == drawn(temperature=1.0, seed=3) != drawn(temperature=1.0, seed=4)
    assert drawn(temperature=1.0, top_p=1e-6) == drawn()
    with pytest.raises(SkyEyeError, match="top_p"):
        drawn(top_p=0)


def test_certainty_is_that_of_the_tokens_that_write_a_box(model):
    text = "<p>a ship</p> {<10><20><40><70>} two"
    ids = model.processor.tokenizer.encode(text, add_special_tokens=False)
    (found,) = read_leniently(text, model.builder.style, (100, 100))
    pieces = [len(model.processor.decode(ids[: n + 1])) for n in range(len(ids))]
    inside = [found.span[0] < end and start < found.span[1] for start, end in zip([0, *pieces], pieces, strict=False)]
    told = [-0.5 if own else -7.0 for own in inside]
    said = SharedAnswer(0, 0, ids, told)
    assert model._certainties([found], said) == [pytest.approx(math.exp(-0.5), abs=1e-3)]
    assert model._certainties([found], replace(said, log_probabilities=[])) == [None]
