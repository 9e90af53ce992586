"""The Q-Former in a model: its image tokens are those of their question, wherever a question is asked."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from skyeye.config.schema import LoraConfig, PromptConfig, QFormerProjectorConfig
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError
from skyeye.generation.answer import answer
from skyeye.models.build import build_model
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.save import save_checkpoint
from skyeye.models.tokenizer import train_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "how", "many", "ships", "planes", "?"]
QUESTIONS = ["how many ships ?", "how many planes ?"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_config):
    """(folder of a model with a Q-Former, a picture)."""
    folder = tmp_path_factory.mktemp("qformer")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(3)
    tokenizer = train_tokenizer(QUESTIONS, 500)
    projector = QFormerProjectorConfig(
        queries=3, width=16, layers=2, heads=2, mlp_width=24, positions=32, vocab_size=9, longest_question=12
    )
    projector.vocabulary = str(folder / "vocab.txt")
    config = tiny_config(projector=projector, lora=LoraConfig(r=0), prompt=PromptConfig(style="rsgpt", pad_token=None))
    config.vision_norm = False
    config.language.config["vocab_size"] = len(tokenizer)
    model = build_model(config, tokenizer).eval()
    for parameter in model.projector.parameters():
        parameter.data.normal_(std=0.5)
    processor = SkyEyeProcessor.from_config(config, tokenizer)
    save_checkpoint(folder / "model", model, model.state_dict(), processor=processor)
    Image.effect_noise((40, 30), 80).convert("RGB").save(folder / "pier.png")
    return folder / "model", folder / "pier.png"


@pytest.fixture(scope="module")
def opened(saved):
    return open_checkpoint(saved[0])


def test_every_way_to_ask_gives_the_tokens_of_its_question(saved, opened):
    (model, processor), picture = opened, saved[1]
    batch = processor([picture, picture], QUESTIONS)
    tokens = model.encode_images(batch["pixel_values"], batch["question_ids"])
    assert not torch.allclose(tokens[0], tokens[1], atol=1e-3)
    alone = [processor(picture, question) for question in QUESTIONS]
    for number, one in enumerate(alone):
        torch.testing.assert_close(model.encode_images(one["pixel_values"], one["question_ids"])[0], tokens[number])
    made = [model.generate(**one, max_new_tokens=6, pad_token_id=0)[0] for one in alone]
    records = [
        Record(id=str(n), source="s", task="vqa", split="test", images=(str(picture),), turns=(Turn(question, ""),))
        for n, question in enumerate(QUESTIONS)
    ]
    assert answer(model, processor, records, max_new_tokens=6) == processor.batch_decode(made)


def test_transformers_opens_the_same_model(saved, opened):
    theirs = SkyEyeForConditionalGeneration.from_pretrained(saved[0]).eval()
    pixels, question = torch.randn(1, *theirs.config.pixel_shape), torch.tensor([[2, 4, 5, 6, 3]])
    expected = opened[0].encode_images(pixels, question)
    torch.testing.assert_close(theirs.encode_images(pixels, question), expected, atol=0, rtol=0)


def test_padding_of_a_question_is_not_read(opened):
    pixels = torch.randn(1, *opened[0].config.pixel_shape)
    one, longer = torch.tensor([[2, 4, 3]]), torch.tensor([[2, 4, 3, -1, -1]])
    torch.testing.assert_close(opened[0].encode_images(pixels, one), opened[0].encode_images(pixels, longer))


def test_a_vocabulary_that_is_not_there(tiny_config, opened):
    config = tiny_config(projector=QFormerProjectorConfig())
    with pytest.raises(SkyEyeError, match="model.projector.vocabulary: null is not on this machine"):
        SkyEyeProcessor.from_config(config, opened[1].tokenizer)


def test_a_file_of_what_was_trained_needs_its_recipe(tmp_path):
    torch.save({"model": {"Qformer.bert.embeddings.LayerNorm.bias": torch.ones(2)}}, tmp_path / "checkpoint_4.pth")
    with pytest.raises(SkyEyeError, match="holds only what was trained.*--base configs/models/rsgpt.yaml"):
        open_checkpoint(tmp_path / "checkpoint_4.pth")
