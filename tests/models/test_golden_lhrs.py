"""LHRS-Bot, and the pooler of LHRS-Bot-Nova, against the outputs of their own code.

Tolerances are what the golden README expects: levels 3e-6, pooled 5e-6, logits 1e-5, losses 2e-6, gradients 5e-6 + 1e-5
relative; integers are equal.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict

import pytest
import torch
from golden_models import IMAGE, golden_folder, need, read_json, tensors
from torch.testing import assert_close

from skyeye.config.schema import (
    LanguageConfig,
    ModelConfig,
    PoolerProjectorConfig,
    PromptConfig,
    VisionConfig,
)
from skyeye.data.record import Turn
from skyeye.data.sequence import IMAGE_TOKEN_ID, SequenceBuilder
from skyeye.models.adapters import plain_name
from skyeye.models.checkpoint import convert
from skyeye.models.converters.clip import tower_section
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.projectors import build_projector
from skyeye.models.projectors.pooler import sine_positions
from skyeye.models.tokenizer import load_tokenizer
from skyeye.models.vision import VisionTower, load_vision_weights
from skyeye.models.weights import load_torch_file, read_tensors

pytestmark = pytest.mark.golden

LOGITS = {"atol": 2e-5, "rtol": 1e-5}
GRADIENTS = {"atol": 1e-5, "rtol": 2e-5}
BATCHES = list(read_json(folder / "batches.json")) if (folder := golden_folder("lhrs")) is not None else ["single"]


@pytest.fixture(scope="module")
def golden():
    return need("lhrs")


@pytest.fixture(scope="module")
def recipe(golden) -> ModelConfig:
    """The model section that a recipe for these sizes has."""
    sizes = read_json(golden / "sizes.json")
    pooler = sizes["pooler"]
    vision = tower_section(golden / "vision_tower")
    return ModelConfig(
        vision=VisionConfig(**vision, layers=sizes["levels_hidden_state_indices"], resize="crop"),
        vision_norm=False,
        projector=PoolerProjectorConfig(
            queries=pooler["stage_num"],
            layers=pooler["num_layers"],
            heads=pooler["num_attn_heads"],
            mlp_ratio=pooler["mlp_ratio"],
        ),
        language=LanguageConfig(pretrained=str(golden / "language")),
        prompt=PromptConfig(style="lhrs", pad_token=None),
    )


@pytest.fixture(scope="module")
def opened(golden, recipe):
    return open_checkpoint(golden / "checkpoint", base=recipe)


def builder(golden, style: str = "lhrs") -> SequenceBuilder:
    return SequenceBuilder(load_tokenizer(golden / "language"), PromptConfig(style=style, pad_token=None), 1)


def theirs(ids: list[int]) -> list[int]:
    return [IMAGE if one == IMAGE_TOKEN_ID else one for one in ids]


def our_name(name: str) -> str:
    name = name.removeprefix("text.text_encoder.base_model.model.")
    return plain_name(name.replace("rgb_pooler.", "projector.") if "rgb_pooler" in name else f"language_model.{name}")


def without_image(text: str) -> str:
    return text.replace("<image>", "").strip()


def test_ids_of_texts_and_prompts(golden):
    texts, made = read_json(golden / "texts.json"), builder(golden)
    assert made.style.asked_system == texts["template"]["system"]
    for text, ids in texts["tokens"].items():
        if "<image>" not in text:
            encoded = made.tokenizer.encode(text, add_special_tokens=False)
            assert [made.tokenizer.bos_token_id, *encoded] == ids, text
    for prompt in texts["prompts"]:
        said = [*map(without_image, prompt["turns"]), ""]
        turns = [Turn(*pair) for pair in zip(said[::2], said[1::2], strict=True)]
        image = int("<image>" in prompt["turns"][0])
        assert theirs(made.prompt(image, turns)) == prompt["input_ids"], prompt["prompt"]


@pytest.mark.parametrize("name", BATCHES)
def test_ids_and_labels_of_training_rows(golden, name):
    told, stored = read_json(golden / "batches.json")[name], tensors(golden / f"batch_{name}.safetensors")
    made = builder(golden, "plain" if told["template"] == "plain" else "lhrs")
    for number, row in enumerate(told["rows"]):
        turns = [Turn(without_image(turn["Question"]), turn["Answer"]) for turn in row["turns"]]
        written = made.row(int("<image>" in row["turns"][0]["Question"]), turns)
        real = stored["attention_mask"][number].bool()
        assert theirs(written.input_ids) == stored["input_ids"][number][real].tolist()
        assert written.labels == stored["labels"][number][real].tolist()


@torch.no_grad()
def test_levels_and_pooled(golden, opened):
    model, processor = opened
    stored = tensors(golden / "vision.safetensors")
    order = list(read_json(golden / "sizes.json").get("images", [])) or sorted(_images(golden))
    pixels = torch.stack([processor.pixels(golden / "images" / name) for name in order])
    numbers = [_same_pixels(one, stored["pixels"]) for one in pixels]
    assert sorted(numbers) == list(range(len(stored["pixels"])))
    pixels = pixels[[numbers.index(place) for place in range(len(numbers))]]
    levels = torch.cat(model.vision_tower.levels(pixels), dim=1)
    count = stored["levels_joined"].shape[1] // len(model.config.towers[0]["layers"])
    levels = torch.cat([level[:, 1:] for level in levels.split(count + 1, dim=1)], dim=1)  # without class tokens
    assert_close(levels, stored["levels_joined"], atol=5e-6, rtol=0)
    assert_close(model.encode_images(pixels), stored["pooled"], atol=1e-5, rtol=0)


def _images(golden) -> list[str]:
    return [path.name for path in (golden / "images").iterdir()]


def _same_pixels(one: torch.Tensor, all_pixels: torch.Tensor) -> int:
    distances = (all_pixels - one).abs().amax(dim=(1, 2, 3))
    assert distances.min() <= 1e-6
    return int(distances.argmin())


@pytest.mark.parametrize("name", BATCHES)
def test_logits_losses_and_gradients(golden, opened, name):
    model, processor = opened
    told, stored = read_json(golden / "batches.json")[name], tensors(golden / f"batch_{name}.safetensors")
    rows = []
    for ids, labels, mask in zip(stored["input_ids"], stored["labels"], stored["attention_mask"], strict=True):
        pairs = zip(ids[mask.bool()].tolist(), labels[mask.bool()].tolist(), strict=True)
        places = [(one, label, model.tokens_per_image if one == IMAGE else 1) for one, label in pairs]
        rows.append([(IMAGE_TOKEN_ID if one == IMAGE else one, label) for one, label, n in places for _ in range(n)])
    longest = max(map(len, rows))
    filled = torch.tensor([row + [(0, -100)] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    shown = [row["image"] for row in told["rows"] if "<image>" in row["turns"][0]["Question"]]
    pixels = torch.stack([processor.pixels(golden / "images" / image) for image in shown])
    model.zero_grad()
    output = model(filled[..., 0], pixel_values=pixels, attention_mask=mask, labels=filled[..., 1])
    rows, places = stored["target_positions"].unbind(dim=1)
    assert_close(output.logits[rows, places], stored["logits_at_targets"], **LOGITS)
    assert_close(output.loss, stored["loss"].squeeze(), atol=4e-6, rtol=0)
    output.loss.backward()
    gradients = {plain_name(name): parameter.grad for name, parameter in model.named_parameters()}
    for key, gradient in stored.items():
        if key.startswith("grad."):
            assert_close(gradients[our_name(key.removeprefix("grad."))], gradient, **GRADIENTS)


@pytest.mark.parametrize("keep_adapters", [True, False])
def test_generation(golden, recipe, keep_adapters):
    model, processor = open_checkpoint(golden / "checkpoint", base=recipe, keep_adapters=keep_adapters)
    runs = read_json(golden / "generation.json")
    for answer in runs["with_lora.greedy" if keep_adapters else "loaded_by_the_original_and_merged.greedy"]:
        ids = theirs(processor.builder.prompt(1, [Turn(answer["question"], "")]))
        once = [one for number, one in enumerate(ids) if one != IMAGE or ids[number - 1] != IMAGE]
        assert once == answer["input_ids"]
        ids = [IMAGE_TOKEN_ID if one == IMAGE else one for one in ids]
        pixels = processor.pixels(golden / "images" / answer["image"])[None]
        made = model.generate(torch.tensor([ids]), pixels, pad_token_id=0, **runs["arguments"])[0].tolist()
        assert made == answer["new_ids"][1:], answer["smallest_gap"]  # theirs begin with a BOS that was not generated


def test_converted_to_ours_and_back_every_bit_is_the_same(golden, recipe, tmp_path):
    convert(golden / "checkpoint", tmp_path / "ours", base=recipe)
    convert(tmp_path / "ours", tmp_path / "back", layout="lhrs")
    places = (golden / "checkpoint", tmp_path / "back")
    before, after = (load_torch_file(place / "FINAL.pt")["model"] for place in places)
    pooler, written = (part["other_ckpt"]["rgb_pooler"] for part in (before, after))
    assert pooler.keys() == written.keys() and all(torch.equal(written[name].half(), t) for name, t in pooler.items())
    tower = {name: tensor for name, tensor in after["rgb_ckpt"].items()}
    assert all(torch.equal(before["rgb_ckpt"][name], tensor.half()) for name, tensor in tower.items())
    files = [place / "TextLoRA" / "adapter_model.safetensors" for place in places]
    adapters, again = map(read_tensors, files)
    assert adapters.keys() == again.keys() and all(torch.equal(again[name], t) for name, t in adapters.items())
    stated = [read_json(file.with_name("adapter_config.json")) for file in files]
    assert stated[0]["target_modules"] == stated[1]["target_modules"]


def test_a_file_without_its_outer_model_is_read_too(golden, recipe, opened, tmp_path):
    folder = shutil.copytree(golden / "checkpoint", tmp_path / "bare")
    torch.save(load_torch_file(folder / "FINAL.pt")["model"], tmp_path / "FINAL.pt")
    shutil.move(tmp_path / "FINAL.pt", folder / "FINAL.pt")
    bare, _ = open_checkpoint(folder, base=recipe)
    assert all(torch.equal(a, b) for a, b in zip(bare.parameters(), opened[0].parameters(), strict=True))


# ------------------------------------------------------------------ LHRS-Bot-Nova


@pytest.fixture(scope="module")
def nova(golden):
    folder = golden / "nova"
    return folder, read_json(folder / "sizes.json"), tensors(folder / "nova.safetensors")


@torch.no_grad()
def test_levels_of_nova_s_siglip(nova):
    folder, sizes, stored = nova
    vision = sizes["vision"]
    arguments = {"embed_dim": vision["hidden_size"], "depth": vision["num_hidden_layers"]}
    arguments |= {"num_heads": vision["num_attention_heads"], "patch_size": vision["patch_size"]}
    arguments |= {"mlp_ratio": vision["intermediate_size"] / vision["hidden_size"], "act_layer": "gelu_tanh"}
    made = VisionConfig(
        architecture="timm",
        name="vit_so400m_patch14_siglip_384",
        image_size=vision["image_size"],
        layers=sizes["levels_hidden_state_indices"],
        arguments=arguments,
    )
    tower = VisionTower(asdict(made)).eval()
    load_vision_weights(tower, folder / "siglip_tower.bin")
    assert_close(torch.cat(tower.levels(stored["pixels"]), dim=1), stored["levels_joined"], atol=5e-6, rtol=0)


def pooler_of(nova, kind: str):
    folder, sizes, stored = nova
    pooler = sizes["pooler"]
    fields = {"type": "nova_pooler", "queries": pooler["stage_num"], "layers": pooler["num_layers"]}
    fields |= {"heads": pooler["num_attention_heads"], "mlp_ratio": pooler["mlp_ratio"]}
    fields |= {"experts": 0 if kind == "dense" else pooler["num_experts"], "selected": pooler["num_selects"]}
    width = stored["levels_joined"].shape[2]
    made = build_projector(fields, [width] * len(pooler["stage_num"]), pooler["output_size"]).eval()
    if kind == "moe_started_from_dense":
        state = {**_experts_of(tensors(folder / "dense.weights.safetensors"), pooler["num_experts"])}
        state |= tensors(folder / f"{kind}.gates.safetensors")
    else:
        state = tensors(folder / f"{kind}.weights.safetensors")
    made.load_state_dict(state)
    return made


def _experts_of(dense: dict[str, torch.Tensor], experts: int) -> dict[str, torch.Tensor]:
    """The experts that the second stage starts from: copies of the first stage's MLP."""
    state = {}
    for name, tensor in dense.items():
        layer, _, part = name.partition(".mlp.")
        if not part:
            state[name] = tensor
            continue
        which, kind = part.split(".")
        own = {"c_fc": f"{kind}_up", "c_proj": f"{kind}_down"}[which]
        value = tensor.T.contiguous() if own == "weight_down" else tensor
        state |= {f"{layer}.mlp.calculator.experts.{own}.{number}": value for number in range(experts)}
    return state


@pytest.mark.parametrize("kind", ["dense", "moe", "moe_started_from_dense"])
def test_nova_s_pooler(nova, kind):
    _, sizes, stored = nova
    levels = stored["levels_joined"].split(stored["levels_joined"].shape[1] // len(sizes["pooler"]["stage_num"]), dim=1)
    made = pooler_of(nova, kind)
    out = made(list(levels))
    assert_close(out, stored[f"{kind}.out"], atol=1e-5, rtol=0)
    (out * stored["loss_weight"]).sum().backward()
    gradients = {name: parameter.grad for name, parameter in made.named_parameters()}
    for key, gradient in stored.items():
        if key.startswith(f"{kind}.grad."):
            assert_close(gradients[key.removeprefix(f"{kind}.grad.")], gradient, **GRADIENTS)


def _their_order(rows: torch.Tensor, images: int) -> torch.Tensor:
    """Rows of image after image -> of query after query."""
    return rows.unflatten(0, (images, -1)).transpose(0, 1).flatten(0, 1)


def test_nova_s_gate_and_positions(nova):
    _, sizes, stored = nova
    side = sizes["pooler"]["num_patches"][0]
    places = stored["pos_embed"].flatten(0, 1)
    assert_close(sine_positions(side, places.shape[1]), places, atol=1e-6, rtol=0)
    made = pooler_of(nova, "moe")
    seen = []
    for layer in made.layers:
        layer.mlp.gate.register_forward_hook(lambda module, inputs, output: seen.append(output))
    levels = stored["levels_joined"].split(stored["levels_joined"].shape[1] // len(sizes["pooler"]["stage_num"]), dim=1)
    made(list(levels))
    seen = [[_their_order(part, len(levels[0])) for part in pair] for pair in seen]
    for call in range(2):
        assert torch.equal(seen[call][0], stored[f"moe.call{call}.topK_indices"])
        assert_close(seen[call][1], stored[f"moe.call{call}.topK_scores"], atol=1e-6, rtol=0)
