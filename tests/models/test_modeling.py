"""What is trained, what is saved, how images are merged, how answers are generated."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_batches import batch
from torch.testing import assert_close
from transformers import AutoModelForImageTextToText, GenerationConfig

from skyeye.config.schema import (
    LanguageConfig,
    LinearProjectorConfig,
    LoraConfig,
    MLPProjectorConfig,
)
from skyeye.errors import SkyEyeError
from skyeye.models.build import build_model
from skyeye.models.checkpointing import checkpoint_layers
from skyeye.models.losses import IGNORE_INDEX
from skyeye.models.modeling import SkyEyeForConditionalGeneration


def trained(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


class TestSetTrainable:
    @pytest.mark.parametrize("vision", ["frozen", "full"])
    @pytest.mark.parametrize("projector", ["frozen", "lora", "full"])
    @pytest.mark.parametrize("language", ["frozen", "lora", "full"])
    def test_gradients_reach_exactly_the_chosen_parameters(self, tiny_config, vision, projector, language):
        model = build_model(tiny_config(lora=LoraConfig(r=2, alpha=4, projector=True)))
        model.set_trainable(vision=vision, projector=projector, language=language)
        expected = set()
        for name, _ in model.named_parameters():
            part = {"vision_tower": vision, "projector": projector, "language_model": language}.get(name.split(".")[0])
            if part == ("lora" if ".lora_" in name else "full"):
                expected.add(name)
        assert trained(model) == expected
        if expected:
            model.train()
            model(**batch(model)).loss.backward()
            assert {name for name, p in model.named_parameters() if p.grad is not None} == expected

    def test_default_is_the_reference(self, tiny_model):
        names = trained(tiny_model)
        assert {n for n in names if not n.startswith("projector.")} == {
            n for n, _ in tiny_model.named_parameters() if ".lora_" in n
        }
        assert {n for n in names if n.startswith("projector.")} == {"projector.linear.weight", "projector.linear.bias"}

    @pytest.mark.parametrize("part", ["vision", "projector", "language"])
    def test_lora_needs_adapters(self, tiny_config, part):
        model = build_model(tiny_config(lora=LoraConfig(r=0)))
        settings = {"vision": "frozen", "projector": "full", "language": "full"} | {part: "lora"}
        with pytest.raises(SkyEyeError, match=f"{part}: lora asked for"):
            model.set_trainable(**settings)

    def test_unknown_setting(self, tiny_model):
        with pytest.raises(SkyEyeError, match="'none' is not one of frozen, lora, full"):
            tiny_model.set_trainable(vision="none")

    def test_what_rests_has_no_dropout(self, tiny_config):
        model = build_model(tiny_config(lora=LoraConfig(r=2, dropout=0.5, projector=True)))
        model.set_trainable(vision="frozen", projector="lora", language="full")
        model.train()
        assert not model.vision_tower.training
        dropouts = {n: m.training for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout) and "lora" in n}
        assert {n.startswith("projector."): training for n, training in dropouts.items()} == {True: True, False: False}
        model.set_trainable(vision="full", projector="full", language="lora")
        assert model.vision_tower.training
        dropouts = {n: m.training for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout) and "lora" in n}
        assert {n.startswith("projector."): training for n, training in dropouts.items()} == {True: False, False: True}

    @pytest.mark.parametrize("part", ["language", "projector"])
    def test_zero_adapters_are_skipped_while_they_rest(self, tiny_config, part):
        model = build_model(tiny_config(lora=LoraConfig(r=2, alpha=4, dropout=0.0, projector=True))).train()
        inputs = batch(model)
        module = {"language": model.language_model, "projector": model.projector}[part]
        uses = []
        for name, child in module.named_modules():
            if name.endswith("lora_A.default"):
                child.register_forward_hook(lambda *_: uses.append(1))
        model.set_trainable(projector="lora", language="lora")
        expected = model(**inputs).logits
        assert uses
        uses.clear()
        model.set_trainable(projector="full", language="full")
        assert torch.equal(model(**inputs).logits, expected) and not uses
        model.eval()
        assert torch.equal(model(**inputs).logits, expected) and uses
        model.train()
        uses.clear()
        weights = {n: torch.randn_like(t) for n, t in model.state_dict().items() if ".lora_B." in n}
        model.load_state_dict(weights, strict=False)
        names = trained(model)
        assert not torch.equal(model(**inputs).logits, expected) and uses
        assert not any(".lora_" in name for name in names)
        again = model(**inputs).logits
        model.set_trainable(projector="lora", language="lora")
        assert torch.equal(model(**inputs).logits, again)


class TestSaving:
    @pytest.mark.parametrize("tied", [False, True])
    @pytest.mark.parametrize("projector", [LinearProjectorConfig, MLPProjectorConfig])
    def test_round_trip(self, tiny_config, tmp_path, tied, projector):
        text = tiny_config().language.config | {"tie_word_embeddings": tied}
        model = build_model(
            tiny_config(
                language=LanguageConfig(config=text),
                projector=projector(join_tokens=4),
                lora=LoraConfig(r=2, projector=True),
            )
        ).eval()
        for parameter in model.parameters():
            parameter.data.normal_()
        model.save_pretrained(tmp_path)
        stored = load_file(tmp_path / "model.safetensors")
        assert len(stored) == len(model.state_dict()) - tied
        again = SkyEyeForConditionalGeneration.from_pretrained(tmp_path)
        assert not again.training
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[name]), name
        assert (again.get_output_embeddings().weight is again.get_input_embeddings().weight) == tied
        inputs = batch(model)
        assert torch.equal(model(**inputs).logits, again(**inputs).logits)
        assert trained(again) == trained(
            build_model(tiny_config(lora=LoraConfig(r=2, projector=True), projector=projector()))
        )

    def test_buffers_that_are_not_stored_are_filled(self, tiny_model, tmp_path):
        tiny_model.save_pretrained(tmp_path)
        torch.use_deterministic_algorithms(True)  # uninitialised memory becomes NaN
        try:
            again = SkyEyeForConditionalGeneration.from_pretrained(tmp_path)
        finally:
            torch.use_deterministic_algorithms(False)
        for name, buffer in tiny_model.named_buffers():
            assert torch.equal(buffer, again.get_buffer(name)), name

    def test_through_the_auto_class(self, tiny_model, tmp_path):
        tiny_model.save_pretrained(tmp_path)
        again = AutoModelForImageTextToText.from_pretrained(tmp_path)
        assert isinstance(again, SkyEyeForConditionalGeneration)

    def test_half_precision_spares_what_is_trained(self, tiny_model, tmp_path):
        tiny_model.save_pretrained(tmp_path)
        half = SkyEyeForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.bfloat16)
        for name, parameter in half.named_parameters():
            spared = ".lora_" in name or name.startswith(("projector.", "vision_norm."))
            assert parameter.dtype == (torch.float32 if spared else torch.bfloat16), name
        inputs = batch(half)
        assert_close(half(**inputs).loss, tiny_model(**inputs).loss, atol=3e-2, rtol=0)

    @pytest.mark.parametrize("damage", ["missing", "unexpected", "misshaped"])
    def test_what_does_not_fit_is_refused(self, tiny_model, tmp_path, damage):
        tiny_model.save_pretrained(tmp_path)
        tensors = load_file(tmp_path / "model.safetensors")
        name = next(name for name in tensors if ".lora_A." in name)
        if damage == "missing":
            del tensors[name]
        elif damage == "unexpected":
            name = "stranger.weight"
            tensors[name] = torch.zeros(3)
        else:
            tensors[name] = torch.zeros(3, 3)
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(SkyEyeError) as error:
            SkyEyeForConditionalGeneration.from_pretrained(tmp_path)
        assert name in str(error.value) and str(tmp_path) in str(error.value)

    def test_no_path_of_the_weights_is_saved(self, tiny_config, tmp_path):
        config = tiny_config()
        config.vision.weights = str(tmp_path / "eva.safetensors")
        source = build_model(tiny_config())
        save_file(source.vision_tower.backbone.state_dict(), config.vision.weights)
        model = build_model(config)
        model.save_pretrained(tmp_path / "saved")
        assert json.loads((tmp_path / "saved/config.json").read_text())["vision"]["weights"] is None
        assert torch.equal(model.vision_tower.backbone.pos_embed, source.vision_tower.backbone.pos_embed)


class TestForward:
    @pytest.mark.parametrize("kind", [LinearProjectorConfig, MLPProjectorConfig])
    @pytest.mark.parametrize("joined", [1, 2, 4])
    def test_joined_tokens(self, tiny_config, kind, joined):
        model = build_model(tiny_config(projector=kind(join_tokens=joined))).eval()
        assert model.config.tokens_per_image == 16 // joined
        assert model.config.token_grid == (4, 4 // joined)
        inputs = batch(model)
        assert model.encode_images(inputs["pixel_values"]).shape == (2, 16 // joined, 16)
        assert torch.isfinite(model(**inputs).loss)

    def test_tokens_that_cannot_be_joined(self, tiny_config):
        with pytest.raises(SkyEyeError, match="16 vision tokens cannot be joined 3 at a time"):
            build_model(tiny_config(projector=LinearProjectorConfig(join_tokens=3)))

    def test_the_norm_before_the_projection(self, tiny_model):
        tokens = 1e-3 * torch.randn(2, 17, 16)  # so small that the norm's eps decides
        centred = tokens - tokens.mean(-1, keepdim=True)
        expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        assert_close(tiny_model.vision_norm(tokens), expected)

    def test_loss_of_text_is_that_of_the_language_model(self, tiny_model):
        ids = torch.randint(3, 100, (2, 6))
        assert_close(tiny_model(ids, labels=ids).loss, tiny_model.language_model(ids, labels=ids).loss)

    def test_images_fill_their_places_in_order(self, tiny_model):
        tokens = tiny_model.config.tokens_per_image
        image = [-1] * tokens
        input_ids = torch.tensor([[1, *image, *image, 7], [1, 8, *image, *[9] * tokens]])
        features = torch.randn(3, tokens, 16)
        embeddings = tiny_model.embed(input_ids, features)
        assert torch.equal(embeddings[0, 1 : 1 + 2 * tokens], features[:2].flatten(0, 1))
        assert torch.equal(embeddings[1, 2 : 2 + tokens], features[2])
        assert torch.equal(embeddings[1, 1], tiny_model.get_input_embeddings().weight[8])

    def test_wrong_number_of_images(self, tiny_model):
        inputs = batch(tiny_model)
        with pytest.raises(SkyEyeError, match="8 places for image tokens, the images give 4"):
            tiny_model(inputs["input_ids"], pixel_values=inputs["pixel_values"][:1])
        with pytest.raises(SkyEyeError, match="the images give 0"):
            tiny_model(inputs["input_ids"])

    def test_supervised_logits_have_the_same_loss_and_gradients(self, tiny_model):
        inputs = batch(tiny_model)
        results = {}
        for logits in ("all", "supervised"):
            tiny_model.zero_grad()
            output = tiny_model(**inputs, logits=logits)
            output.loss.backward()
            results[logits] = output.loss, tiny_model.projector.linear.weight.grad.clone()
        assert_close(*(loss for loss, _ in results.values()))
        assert_close(*(gradient for _, gradient in results.values()))
        assert output.logits.shape == (int((inputs["labels"] != IGNORE_INDEX).sum()), 130)
        assert not tiny_model.get_output_embeddings()._forward_pre_hooks

    def test_no_target_is_no_loss(self, tiny_model):
        inputs = batch(tiny_model)
        inputs["labels"][:] = IGNORE_INDEX
        output = tiny_model(**inputs, logits="supervised")
        output.loss.backward()
        assert output.loss == 0

    def test_gradient_checkpointing_changes_nothing(self, tiny_model):
        tiny_model.set_trainable(vision="full", projector="full", language="lora")
        tiny_model.train()
        inputs = batch(tiny_model)
        gradients = []
        for checkpointing in (False, True):
            if checkpointing:
                checkpoint_layers(tiny_model)
                assert tiny_model.vision_tower.backbone.grad_checkpointing
            tiny_model.zero_grad()
            tiny_model(**inputs).loss.backward()
            gradients.append({name: p.grad.clone() for name, p in tiny_model.named_parameters() if p.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        for name, gradient in gradients[0].items():
            assert_close(gradients[1][name], gradient)


class TestGenerate:
    def prompts(self, model) -> list[dict[str, torch.Tensor]]:
        tokens, size = model.config.tokens_per_image, model.config.vision["image_size"]
        return [
            {
                "input_ids": torch.tensor([[1, *[-1] * tokens * images, *torch.randint(3, 100, (words,)).tolist()]]),
                "pixel_values": torch.randn(images, 3, size, size),
            }
            for images, words in ((1, 3), (2, 4), (0, 2))
        ]

    def together(self, prompts) -> dict[str, torch.Tensor]:
        length = max(prompt["input_ids"].shape[1] for prompt in prompts)
        padded = [
            torch.nn.functional.pad(p["input_ids"], (length - p["input_ids"].shape[1], 0), value=-2) for p in prompts
        ]
        input_ids = torch.cat(padded)
        return {
            "input_ids": input_ids,
            "attention_mask": (input_ids != -2).long(),
            "pixel_values": torch.cat([p["pixel_values"] for p in prompts]),
        }

    @pytest.mark.parametrize(
        "settings",
        [{}, {"repetition_penalty": 1.3}, {"num_beams": 3}, {"num_beams": 2, "repetition_penalty": 1.3}],
        ids=str,
    )
    def test_a_batch_equals_one_by_one(self, tiny_model, settings):
        prompts = self.prompts(tiny_model)
        batched = tiny_model.generate(**self.together(prompts), max_new_tokens=8, **settings)
        for row, prompt in zip(batched, prompts, strict=True):
            if not len(prompt["pixel_values"]):
                prompt = {"input_ids": prompt["input_ids"]}
            alone = tiny_model.generate(**prompt, max_new_tokens=8, **settings)
            ended = alone.shape[1]
            assert alone.tolist() == [row[:ended].tolist()]
            assert (row[ended:] == tiny_model.generation_config.pad_token_id).all()

    def test_repetition_penalty_through_a_generation_config(self, tiny_model):
        prompts = self.together(self.prompts(tiny_model))
        config = GenerationConfig(max_new_tokens=8, repetition_penalty=1.3)
        expected = tiny_model.generate(**prompts, max_new_tokens=8, repetition_penalty=1.3)
        assert tiny_model.generate(**prompts, generation_config=config).tolist() == expected.tolist()
        assert config.repetition_penalty == 1.3  # the caller's object is left alone

    def test_each_image_is_encoded_once(self, tiny_model):
        prompts = self.together(self.prompts(tiny_model))
        seen = []
        tiny_model.vision_tower.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
        expected = tiny_model.generate(**prompts, max_new_tokens=5, num_beams=2)
        assert seen == [3]
        features = tiny_model.encode_images(prompts.pop("pixel_values"))
        given = tiny_model.generate(**prompts, image_features=features, max_new_tokens=5, num_beams=2)
        assert given.tolist() == expected.tolist()

    def test_greedy_unless_asked(self, tiny_model):
        prompts = self.together(self.prompts(tiny_model))
        assert tiny_model.generate(**prompts, max_new_tokens=6).tolist() == (
            tiny_model.generate(**prompts, max_new_tokens=6).tolist()
        )
        draws = {str(tiny_model.generate(**prompts, max_new_tokens=6, do_sample=True).tolist()) for _ in range(4)}
        assert len(draws) > 1
