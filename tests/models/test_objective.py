"""What a stage trains: the losses around a model, what they read, and what stays out of the model."""

from __future__ import annotations

import pytest
import torch
from tiny_batches import batch
from torch.testing import assert_close

from skyeye.config.schema import AlignmentConfig
from skyeye.errors import SkyEyeError
from skyeye.models.checkpoint import load_checkpoint
from skyeye.models.losses import IGNORE_INDEX, word_loss
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.objective import TrainingObjective, trained_parameters


def objective(model, **settings) -> TrainingObjective:
    return TrainingObjective(model, **settings).train()


class TestWrapper:
    def test_the_loss_is_that_of_the_model_bit_for_bit(self, tiny_model):
        inputs = batch(tiny_model)
        for count in (None, 7):
            counts = None if count is None else {"labels": count}
            plain = tiny_model.train()(**inputs, num_target_tokens=count, logits="none").loss
            assert torch.equal(objective(tiny_model)(**inputs, counts=counts), plain)

    def test_a_step_without_targets_divides_by_nothing(self, tiny_model):
        inputs = batch(tiny_model)
        inputs["labels"][:] = IGNORE_INDEX
        loss = objective(tiny_model)(**inputs, counts={"labels": 0})
        loss.backward()
        assert loss == 0

    def test_parameters_come_in_the_order_of_the_model_and_under_its_names(self, tiny_model):
        own = [name for name, parameter in tiny_model.named_parameters() if parameter.requires_grad]
        whole = objective(tiny_model, alignment=AlignmentConfig(boxes=1.0))
        assert [name for name, _ in trained_parameters(whole)] == [*own, "region_reader.weight", "region_reader.bias"]


class TestTextAlone:
    def test_text_alone_reaches_every_trained_parameter(self, tiny_model):
        tiny_model.set_trainable(vision="full", projector="full", language="full")
        ids = torch.randint(1, 100, (2, 6))
        objective(tiny_model)(ids, labels=ids).backward()
        gradients = {name: p.grad for name, p in tiny_model.named_parameters() if p.requires_grad}
        assert all(gradient is not None for gradient in gradients.values())
        assert not gradients["projector.linear.weight"].any()

    @pytest.mark.parametrize("shared_out", [True, False])
    def test_text_alone_asks_for_a_resting_tower_only_where_its_weights_are_shared_out(self, tiny_model, shared_out):
        tiny_model.set_trainable(vision="frozen", projector="frozen", language="lora")
        if shared_out:
            tiny_model.vision_norm.weight.ds_id = 0  # as ZeRO-3 marks a weight of which this process holds a part
        asked, ids = [], torch.randint(1, 100, (2, 6))
        tiny_model.vision_tower.register_forward_hook(lambda *_: asked.append("tower"))
        tiny_model.projector.register_forward_hook(lambda *_: asked.append("projector"))
        objective(tiny_model)(ids, labels=ids).backward()
        assert asked == (["tower", "projector"] if shared_out else [])

    @pytest.mark.parametrize(
        ("vision", "projector", "language"),
        [("full", "full", "full"), ("frozen", "full", "lora"), ("frozen", "frozen", "lora")],
    )
    def test_text_alone_goes_back_through_the_layers_that_images_do(self, tiny_model, vision, projector, language):
        """A layer whose result needs a gradient is asked for again in the backward pass, and ZeRO-3 gathers it."""
        tiny_model.set_trainable(vision=vision, projector=projector, language=language)
        trained, passed = objective(tiny_model), {}
        for name, module in tiny_model.language_model.named_modules():
            if list(module.parameters(recurse=False)):
                module.register_forward_hook(lambda *a, name=name: passed.__setitem__(name, a[2].requires_grad))
        inputs = batch(tiny_model)
        trained(**inputs)
        with_images = dict(passed)
        ids = torch.randint(1, 100, (2, 6))
        trained(ids, labels=ids)
        assert passed == with_images and any(passed.values())


class TestLosses:
    def test_alignment_is_the_mean_over_what_is_known(self, tiny_model):
        inputs = batch(tiny_model)
        tokens, length = tiny_model.config.tokens_per_image, inputs["input_ids"].shape[1]
        known = {
            "region_words": torch.full((2, tokens, 2), IGNORE_INDEX),
            "region_boxes": torch.full((2, tokens, 4), IGNORE_INDEX),
            "phrase_boxes": torch.full((2, length, 4), IGNORE_INDEX),
        }
        known["region_words"][0, 1] = torch.tensor([5, 6])
        known["region_words"][1, 3, 0] = 7
        known["region_boxes"][1, 2] = torch.tensor([1, 2, 3, 4])
        known["phrase_boxes"][0, tokens] = torch.tensor([9, 8, 70, 60])
        plain = tiny_model(**inputs).loss
        assert_close(objective(tiny_model)(**inputs, **known), plain)  # no weight, no loss

        weights = AlignmentConfig(words=0.5, boxes=0.25, phrases=2.0, sharpness=3.0)
        aligned = objective(tiny_model, alignment=weights)
        features = tiny_model.encode_images(inputs["pixel_values"])
        embeddings = tiny_model.embed(inputs["input_ids"], features)
        hidden = tiny_model.language_model(inputs_embeds=embeddings, output_hidden_states=True).hidden_states[1]
        table = tiny_model.get_input_embeddings().weight
        named = torch.stack([features[0, 1], features[1, 3]])
        words = word_loss(named, known["region_words"][[0, 1], [1, 3]], table, 3.0) / 2
        boxes = aligned.region_reader.loss(features[1, 2:3], known["region_boxes"][1, 2:3])
        phrases = aligned.phrase_reader.loss(hidden[:1, tokens], known["phrase_boxes"][:1, tokens])
        expected = plain + 0.5 * words + 0.25 * boxes + 2.0 * phrases
        assert_close(aligned(**inputs, **known), expected)
        targets = int((inputs["labels"] != IGNORE_INDEX).sum())
        counts = {"labels": 2 * targets, "region_words": 4, "region_boxes": 2, "phrase_boxes": 8}
        fewer = aligned(**inputs, **known, counts=counts)
        assert_close(fewer, plain / 2 + 0.5 * words / 2 + 0.25 * boxes / 2 + 2.0 * phrases / 8)
        assert_close(aligned.eval()(**inputs, **known), plain)  # no part of the model, only of its training

    def test_alignment_alone_does_not_run_the_language_model(self, tiny_model):
        tiny_model.set_trainable(vision="full", projector="full", language="full")
        inputs, runs = batch(tiny_model), []
        tiny_model.language_model.register_forward_hook(lambda *_: runs.append(1))
        words = torch.randint(1, 100, (2, tiny_model.config.tokens_per_image, 1))
        alone = objective(tiny_model, answers=False, alignment=AlignmentConfig(words=1.0))
        alone(**inputs, region_words=words).backward()
        assert not runs and tiny_model.projector.linear.weight.grad.any()
        assert_close(alone.eval()(**inputs), tiny_model(**inputs).loss)
        assert runs

    def test_readers_are_not_saved(self, tiny_model, tmp_path):
        whole = objective(tiny_model, alignment=AlignmentConfig(boxes=1.0, phrases=1.0))
        own = {name for name in whole.state_dict() if not name.startswith("model.")}
        assert own == {f"{part}_reader.{name}" for part in ("region", "phrase") for name in ("weight", "bias")}
        assert not any("reader" in name or "objective" in name for name in tiny_model.state_dict())
        tiny_model.save_pretrained(tmp_path)
        SkyEyeForConditionalGeneration.from_pretrained(tmp_path)  # nothing unexpected
        load_checkpoint(tiny_model, tmp_path)  # nothing missing

    def test_no_region_is_no_alignment_loss(self, tiny_model):
        inputs = batch(tiny_model)
        plain = tiny_model(**inputs).loss
        aligned = objective(tiny_model, alignment=AlignmentConfig(words=0.5, boxes=0.5, phrases=0.5))
        tokens, length = tiny_model.config.tokens_per_image, inputs["input_ids"].shape[1]
        nothing = {
            "region_words": torch.full((2, tokens, 1), IGNORE_INDEX),
            "region_boxes": torch.full((2, tokens, 4), IGNORE_INDEX),
            "phrase_boxes": torch.full((2, length, 4), IGNORE_INDEX),
        }
        assert_close(aligned(**inputs, **nothing), plain)

    def test_box_token_noise_reaches_what_is_read_not_what_is_learnt(self, tiny_model):
        inputs = batch(tiny_model)
        read = []
        tiny_model.get_input_embeddings().register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
        noisy = objective(tiny_model, box_token_noise=1.0, box_token_ids=list(range(101)))
        noisy(**inputs)
        answers = inputs["labels"] != IGNORE_INDEX
        tokens = tiny_model.config.tokens_per_image
        assert (read[0][answers] != inputs["labels"][answers]).any()
        assert torch.equal(
            read[0][~answers][tokens:], inputs["input_ids"].masked_fill(read[0] == 0, 0)[~answers][tokens:]
        )
        noisy.eval()(**inputs)
        assert torch.equal(read[1][answers], inputs["labels"][answers])

    def test_box_token_smoothing_needs_number_tokens(self, tiny_model):
        with pytest.raises(SkyEyeError, match="box_tokens"):
            objective(tiny_model, box_token_smoothing=2.0)

    def test_box_token_smoothing_changes_number_targets_only(self, tiny_model):
        inputs = batch(tiny_model)
        inputs["labels"][inputs["labels"] != IGNORE_INDEX] = 120
        plain = tiny_model(**inputs).loss
        smooth = objective(tiny_model, box_token_smoothing=2.0, box_token_ids=list(range(101)))
        assert_close(smooth(**inputs), plain)
        inputs["labels"][0, -1] = 50
        assert not torch.isclose(smooth(**inputs), plain)
