"""MiniGPT-v2's own code beside ours on the same work, in one process: training steps and answers.

    git clone https://github.com/Vision-CAIR/MiniGPT-4 reference
    python scripts/reference_speed.py reference --distribution skyeye968k --questions-per-image 16 --json result.json

Nothing in the reference is changed. Around it are replaced: what reads weights from files and the network (the weights
here are random, the same on both sides), its tokenizer (texts here are token ids), packages that it imports and does
not use here, and names that its versions of transformers and PEFT had.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import types
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from skyeye.bench.common import machine
from skyeye.bench.generate import prompts_of, with_openings
from skyeye.bench.model import VOCABULARY, bench_config, bench_model, sizes
from skyeye.bench.train import TrainingStep, some_samples
from skyeye.data.sequence import GroupSequence
from skyeye.generation.engine import answer_groups
from skyeye.models.converters.minigpt_v2 import canonical, reference_name
from skyeye.models.flops import supervised
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.plan.workloads import DISTRIBUTIONS, made_groups

BEGIN, PAD = 1, 0


class Ids:
    """In the place of the tokenizer: a text is its token ids."""

    pad_token_id, bos_token_id, bos_token, padding_side = PAD, BEGIN, str(BEGIN), "right"

    def __call__(self, texts: str | Sequence[str], add_special_tokens: bool = False, **_):
        rows = [[int(word) for word in text.split()] for text in ([texts] if isinstance(texts, str) else texts)]
        rows = [[BEGIN] * add_special_tokens + row for row in rows]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows], dtype=torch.long)
        return Encoded(input_ids=ids, attention_mask=(ids != PAD).int())

    def decode(self, ids: torch.Tensor, **_) -> str:
        return " ".join(map(str, ids.tolist()))


class Encoded(types.SimpleNamespace):
    def to(self, device: torch.device) -> Encoded:
        return self


def _module(name: str, **content) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module


def import_reference(folder: Path) -> tuple[type, Callable, type]:
    """(MiniGPTv2, VisionTransformer, LlamaForCausalLM) of a clone; only the files of the model are read."""
    import peft
    import timm.layers
    import transformers.models.llama.modeling_llama as llama
    import transformers.utils as utils

    code = folder / "minigpt4"
    for name, path in (("minigpt4", code), ("minigpt4.models", code / "models"), ("minigpt4.common", code / "common")):
        _module(name, __path__=[str(path)])
    _module("minigpt4.common.dist_utils", download_cached_file=None)
    _module("minigpt4.common.utils", get_abs_path=None, is_url=None)
    _module("minigpt4.conversation", __path__=[])
    _module("minigpt4.conversation.conversation", StoppingCriteriaSub=lambda stops: None)
    _module("minigpt4.models.Qformer", BertConfig=None, BertLMHeadModel=None)
    _module("timm.models.layers", **vars(timm.layers))
    _module("timm.models.registry", register_model=lambda model: model)
    peft.prepare_model_for_int8_training = None
    llama.LLAMA_INPUTS_DOCSTRING = llama._CONFIG_FOR_DOC = ""
    utils.add_start_docstrings_to_model_forward = lambda *_: lambda function: function
    utils.replace_return_docstrings = lambda **_: lambda function: function
    from minigpt4.models.base_model import BaseModel

    sys.modules["minigpt4.models"].BaseModel = BaseModel
    from minigpt4.models.eva_vit import VisionTransformer
    from minigpt4.models.minigpt_v2 import MiniGPTv2
    from minigpt4.models.modeling_llama import LlamaForCausalLM

    return MiniGPTv2, VisionTransformer, LlamaForCausalLM


def build_reference(folder: Path, ours: SkyEyeForConditionalGeneration) -> torch.nn.Module:
    """The reference's model with the sizes and weights of ours."""
    from peft import LoraConfig, get_peft_model

    original, tower, language = import_reference(folder)
    from minigpt4.models import base_model

    vision, lora = ours.config.vision, ours.config.lora

    class Language(language):
        """The keywords of this transformers for those of the reference's."""

        def forward(self, *arguments, cache=None, logits_to_keep=None, reduction="mean", **named):
            names = ("input_ids", "attention_mask", "position_ids", "inputs_embeds", "labels", "use_cache")
            named = {name: value for name, value in named.items() if name in names}
            return super().forward(*arguments, past_key_values=cache, return_dict=True, reduction=reduction, **named)

    class Reference(original):
        def init_llm(self, **_):
            model = Language(ours.config.text_config).requires_grad_(False)
            settings = LoraConfig(
                r=lora["r"],
                lora_alpha=lora["alpha"],
                lora_dropout=lora["dropout"],
                target_modules=list(lora["target_modules"]),
                bias="none",
                task_type="CAUSAL_LM",
            )
            return get_peft_model(model, settings), Ids()

        def init_vision_encoder(self, *_):
            norm = base_model.LayerNorm(vision["width"]).requires_grad_(False)
            encoder = tower(
                img_size=vision["image_size"],
                patch_size=vision["patch_size"],
                embed_dim=vision["width"],
                depth=vision["depth"],
                num_heads=vision["heads"],
                mlp_ratio=vision["mlp_ratio"],
                qkv_bias=True,
                use_mean_pooling=False,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            )
            return encoder.requires_grad_(False).eval(), norm

    model = Reference(img_size=vision["image_size"], end_sym="", max_txt_len=1024)
    state = {reference_name(name): tensor for name, tensor in ours.state_dict().items()}
    model.load_state_dict({name: state[canonical(name)] for name in model.state_dict()})
    return model.train()


def _words(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


class Reference:
    """Its training step and its answers, for groups of ours."""

    def __init__(self, model: torch.nn.Module, pixels: dict[str, torch.Tensor], batch: int):
        self.model, self.pixels, self.batch = model, pixels, batch
        self.optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)

    def samples(self, groups: Sequence[GroupSequence]) -> list[dict]:
        """Micro-batches as its loader gives them; the token that begins a row is its own."""
        rows = []
        for group in groups:
            words = [token for token in group.prefix_ids[1:] if token >= 0]
            for branch in group.branches:
                question = [t for t, label in zip(branch.input_ids, branch.labels, strict=True) if label < 0]
                answer = [label for label in branch.labels if label >= 0]
                text = f"{_words(words)} <ImageHere> {_words(question)}"
                rows.append((self.pixels[group.images[0]], text, _words(answer)))
        batches = [rows[start : start + self.batch] for start in range(0, len(rows), self.batch)]
        return [
            {
                "image": torch.stack([row[0] for row in batch]),
                "instruction_input": [row[1] for row in batch],
                "answer": [row[2] for row in batch],
            }
            for batch in batches
        ]

    def step(self, groups: Sequence[GroupSequence]) -> float:
        """One training step; samples a second."""
        began = time.perf_counter()
        for batch in self.samples(groups):
            self.model(batch)["loss"].backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return sum(len(group.branches) for group in groups) / (time.perf_counter() - began)

    def answer(self, asked: Sequence[tuple[str, str, int]]) -> list[list[int]]:
        """(image, text, longest answer) -> ids."""
        images = torch.stack([self.pixels[image] for image, _, _ in asked])
        longest = max(length for _, _, length in asked)
        said = self.model.generate(images, [text for _, text, _ in asked], max_new_tokens=longest)
        return [[int(word) for word in text.split()][:length] for text, (_, _, length) in zip(said, asked, strict=True)]


def alternate(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Rates of each side, after one unmeasured round."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(repeats + 1):
        for name, run in sides.items():
            rate = run()
            if number:
                rates[name].append(rate)
                print(f"{name}: {rate:.3f} samples a second", flush=True)
    return rates


def train(ours: SkyEyeForConditionalGeneration, reference: Reference, groups: list[GroupSequence], options) -> dict:
    """Samples a second of three ways, and the difference of the loss."""
    step = TrainingStep(ours, groups, budget=4096, pixels=reference.pixels)
    few = some_samples(groups, options.samples)
    first = [GroupSequence(few[0].images, few[0].prefix_ids, few[0].branches[: options.batch])]
    with torch.no_grad():
        theirs = reference.model(reference.samples(first)[0])["loss"].item()
        difference = abs(step.loss(first, True, supervised(first)).item() - theirs)
    sides = {
        "reference": lambda: reference.step(few),
        "ours, a row for every sample": lambda: step.separate(few),
        "ours": step.shared,
    }
    return {"rates": alternate(sides, options.repeats), "loss": theirs, "loss_difference": difference}


def generate(ours: SkyEyeForConditionalGeneration, reference: Reference, groups: list[GroupSequence], options) -> dict:
    """Answers a second of both, and how many differ."""
    ours.eval(), reference.model.eval()
    ours.language_model.merge_adapter()  # as evaluation does; the reference leaves its adapters beside the weights
    groups = with_openings(groups)
    prompts = [prompts_of(group) for group in groups]
    images = [torch.stack([reference.pixels[image] for image in group.images]) for group in groups]
    places = [(g, p) for g, group in enumerate(prompts) for p in range(len(group.prompts))]
    chosen = places[:: max(1, len(places) // options.batch)][: options.batch]
    asked = []
    for g, p in chosen:
        ids = prompts[g].prompts[p]
        begin, end = ids.index(-1), len(ids) - ids[::-1].index(-1)
        text = f"{_words(ids[1:begin])} <ImageHere> {_words(ids[end:])}"
        asked.append((groups[g].images[0], text, prompts[g].max_new_tokens[p]))
    said: dict[tuple[int, int], list[int]] = {}
    theirs: list[list[int]] = []

    def own() -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            filled = (
                type(group)(group.prompts, ours.encode_images(pixels), group.max_new_tokens)
                for group, pixels in zip(prompts, images, strict=True)
            )
            for answer in answer_groups(ours, filled, rows=64, eos_token_id=None):
                said[answer.group, answer.prompt] = answer.ids
        return len(places) / (time.perf_counter() - began)

    def other() -> float:
        began = time.perf_counter()
        theirs[:] = reference.answer(asked)
        return len(asked) / (time.perf_counter() - began)

    rates = alternate({"reference": other, "ours": own}, options.repeats)
    differing = sum(said[place] != ids for place, ids in zip(chosen, theirs, strict=True))
    return {"rates": rates, "answers_compared": len(chosen), "answers_differing": differing}


def summary(result: dict) -> dict:
    """Medians of the rates, and of the ratios to the reference within a round."""
    rates = result.pop("rates")
    ratios = {
        name: [ours / theirs for ours, theirs in zip(each, rates["reference"], strict=True)]
        for name, each in rates.items()
    }
    return {
        **result,
        "samples_per_second": {name: round(statistics.median(each), 3) for name, each in rates.items()},
        "ratio_to_reference": {
            name: [round(x, 2) for x in (statistics.median(each), min(each), max(each))]
            for name, each in ratios.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path, help="a clone of Vision-CAIR/MiniGPT-4")
    parser.add_argument("--distribution", choices=tuple(DISTRIBUTIONS), default="skyeye968k")
    parser.add_argument("--questions-per-image", type=int, metavar="N", help="at most (default: all)")
    parser.add_argument("--images", type=int, default=12, help="of a step of ours (default 12)")
    parser.add_argument("--samples", type=int, default=12, help="of a step of the others (default 12)")
    parser.add_argument("--batch", type=int, default=6, help="samples of the reference's micro-batch (default 6)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--answers", action="store_true", help="answers instead of training steps")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    config = bench_config()
    ours, _ = bench_model(config=config)
    groups = made_groups(
        options.distribution,
        options.images,
        tokens_per_image=ours.tokens_per_image,
        vocabulary=VOCABULARY,
        questions_per_image=options.questions_per_image,
    )
    for group in groups:
        group.prefix_ids[0] = BEGIN
    generator = torch.Generator().manual_seed(0)
    pixels = {image: torch.randn(ours.config.pixel_shape, generator=generator) for g in groups for image in g.images}
    reference = Reference(build_reference(options.reference, ours), pixels, options.batch)
    result = {
        **summary((generate if options.answers else train)(ours, reference, groups, options)),
        "work": {name: value for name, value in vars(options).items() if name not in ("reference", "json")},
        "sizes": sizes(ours),
        "machine": machine(ours.device),
    }
    print(json.dumps(result, indent=1), flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
