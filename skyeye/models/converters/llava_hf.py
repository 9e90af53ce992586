"""A model of LLaVA's shape as a folder of transformers' own ``LlavaForConditionalGeneration``: it needs nothing of this
package to be loaded, and other servers read it. Names and settings are those of llava-hf/llava-1.5-7b-hf.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from tokenizers import AddedToken

from skyeye.config.schema import ModelConfig
from skyeye.data.prompts import Llava
from skyeye.errors import SkyEyeError
from skyeye.models.adapters import plain_name
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.converters.clip import hugging_face_tensors
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.precision import DTYPES
from skyeye.models.pretrained import open_checkpoint
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.save import whole_folder

#: What stands in a prompt for an image.
IMAGE = "<image>"
_TOWER = "vision_tower.backbone."
_PROJECTOR = {"projector.linear.": "linear_1.", "projector.out.1.": "linear_2."}
_ROWS = 64  # vocabularies are written in multiples of this, as llava-hf's are


def export_llava_hf(
    source: str | Path,
    target: str | Path,
    *,
    base: str | Path | ModelConfig | None = None,
    dtype: str = "bf16",
    family: str | None = None,
) -> None:
    """Write a checkpoint as a folder of ``LlavaForConditionalGeneration``, adapters added to their weights.

    Args:
        source, base, family: see :func:`~skyeye.models.pretrained.open_checkpoint`.
        dtype: ``bf16``, ``fp16`` or ``fp32``.

    Raises:
        SkyEyeError: the checkpoint cannot be opened or is none of LLaVA's shape; the target is there already or cannot
            be written.
    """
    target = Path(target)
    if target.exists():
        raise SkyEyeError("exists already", where=str(target), remedy="remove it or choose another name")
    precision = DTYPES[dtype]
    model, processor = open_checkpoint(source, base=base, precision=precision, keep_adapters=False, family=family)
    with whole_folder(target) as partial:
        write(partial, model, processor, precision)


def write(folder: Path, model: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor, dtype: torch.dtype) -> None:
    """Weights, ``config.json``, tokenizer and image processor.

    Args:
        folder: is made.
        model: without adapters; its tokenizer gets the token :data:`IMAGE`.

    Raises:
        SkyEyeError: the model has a part that LLaVA has no place for.
    """
    _refuse_other_models(model.config)
    folder.mkdir(parents=True)
    tokenizer = processor.tokenizer
    tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)], special_tokens=True)
    image_id = tokenizer.convert_tokens_to_ids(IMAGE)
    tensors = _tensors(model, image_id)
    rows = tensors["language_model.model.embed_tokens.weight"].shape[0]
    tensors = {name: t.to(dtype).contiguous() if t.is_floating_point() else t for name, t in tensors.items()}
    save_torch_state_dict(tensors, folder, max_shard_size="5GB")
    _write_json(folder / "config.json", _config(model, image_id, rows, dtype))
    _write_json(folder / "generation_config.json", _generation(processor))
    tokenizer.chat_template = _chat_template(processor)
    tokenizer.save_pretrained(folder)
    vision = model.config.towers[0]
    pixels = _image_processor(processor, vision["image_size"])
    _write_json(folder / "preprocessor_config.json", pixels)
    about = {"processor_class": "LlavaProcessor", "patch_size": vision["patch_size"], "image_token": IMAGE}
    about |= {"num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    _write_json(folder / "processor_config.json", about)


def _refuse_other_models(config: SkyEyeConfig) -> None:
    odd = []
    tower = config.towers[0]
    if len(config.towers) > 1 or tower["architecture"] != "clip" or not tower["layers"] or tower["level_norm"]:
        odd.append("model.vision is not one tower of architecture: clip with layers and without level_norm")
    if config.vision_norm:
        odd.append("model.vision_norm is true")
    if config.projector["type"] != "mlp" or config.projector["join_tokens"] != 1:
        odd.append("model.projector is not mlp with join_tokens: 1")
    if odd:
        remedy = "LlavaForConditionalGeneration has no place for that; skyeye export writes a folder of ours"
        raise SkyEyeError("; ".join(odd), where="--format llava", remedy=remedy)


def _tensors(model: SkyEyeForConditionalGeneration, image_id: int) -> dict[str, torch.Tensor]:
    """All weights by the names of llava-hf; the vocabulary has a row for the image token."""
    own = {plain_name(name): tensor for name, tensor in model.state_dict().items()}
    tower = {name.removeprefix(_TOWER): t for name, t in own.items() if name.startswith(_TOWER)}
    width = model.config.towers[0]["width"]
    unread = {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}  # behind the levels, and expected
    tensors = {f"vision_tower.{name}": t.clone() for name, t in hugging_face_tensors({**unread, **tower}).items()}
    for name, tensor in own.items():
        for ours, theirs in _PROJECTOR.items():
            if name.startswith(ours):
                tensors[f"multi_modal_projector.{theirs}{name.removeprefix(ours)}"] = tensor
    words = {name: tensor for name, tensor in own.items() if name.startswith("language_model.")}
    if model.config.text_config.tie_word_embeddings:
        words.pop("language_model.lm_head.weight", None)
    for name in ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"):
        if name in words:
            words[name] = _with_rows(words[name], image_id + 1)
    return tensors | words


def _with_rows(weight: torch.Tensor, needed: int) -> torch.Tensor:
    """A vocabulary with room for ``needed`` tokens. The new rows are the mean of all: a token of theirs is never the
    likeliest."""
    if weight.shape[0] >= needed:
        return weight
    rows = -(-needed // _ROWS) * _ROWS - weight.shape[0]
    return torch.cat([weight, weight.float().mean(dim=0, keepdim=True).to(weight.dtype).expand(rows, -1)])


def _config(model: SkyEyeForConditionalGeneration, image_id: int, rows: int, dtype: torch.dtype) -> dict[str, Any]:
    config = model.config
    text = {name: value for name, value in config.text_config.to_dict().items() if not name.startswith("_")}
    text |= {"vocab_size": rows, "dtype": str(dtype).removeprefix("torch.")}
    vision = config.towers[0]
    depth = len(model.vision_tower.towers[0].backbone.blocks)  # it ends at its highest level
    layers = [layer % (vision["depth"] + 1) for layer in vision["layers"]]
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "dtype": str(dtype).removeprefix("torch."),
        "image_seq_length": config.tokens_per_image,
        "image_token_index": image_id,
        "multimodal_projector_bias": True,
        "projector_hidden_act": "gelu",
        "text_config": text,
        "tie_word_embeddings": bool(config.text_config.tie_word_embeddings),
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_act": vision["activation"],
            "hidden_size": vision["width"],
            "image_size": vision["image_size"],
            "intermediate_size": int(vision["width"] * vision["mlp_ratio"]),
            "layer_norm_eps": 1e-5,
            "num_attention_heads": vision["heads"],
            "num_hidden_layers": depth,
            "patch_size": vision["patch_size"],
        },
        "vision_feature_layer": layers[0] if len(layers) == 1 else layers,
        "vision_feature_select_strategy": "default",
    }


def _generation(processor: SkyEyeProcessor) -> dict[str, Any]:
    tokenizer = processor.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": processor.builder.end_token_ids,
        "pad_token_id": pad,
    }


def _image_processor(processor: SkyEyeProcessor, size: int) -> dict[str, Any]:
    square = {"height": size, "width": size}
    how = processor.image_resize
    settings: dict[str, Any] = {
        "image_processor_type": "LlavaImageProcessor" if how == "pad" else "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "do_center_crop": how == "crop",
        "crop_size": square,
        "image_mean": list(processor.image_mean),
        "image_std": list(processor.image_std),
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": square if how == "stretch" else {"shortest_edge": size},
    }
    if how == "pad":
        settings |= {"do_pad": True, "background_color": [int(value * 255) for value in processor.image_mean]}
    return settings


def _chat_template(processor: SkyEyeProcessor) -> str | None:
    """The words of a family as a Jinja template; None: the style is none of LLaVA's, and its words are not written."""
    style = processor.builder.style
    if not isinstance(style, Llava):
        return None
    dialect = style.dialect
    before, _, behind = dialect.opening.partition("{}")
    return _TEMPLATE.format(
        system=json.dumps(style.asked_system),
        before=json.dumps(before.lstrip()),
        behind=json.dumps(behind if before or style.asked_system else behind.lstrip()),
        later=json.dumps(dialect.later),
        answered=json.dumps(dialect.end),
        asked=json.dumps(dialect.behind),
        image=IMAGE,
    )


_TEMPLATE = """\
{{%- set words = namespace(system={system}, first=true) -%}}
{{{{- bos_token if bos_token else '' -}}}}
{{%- for message in messages -%}}
{{%- set part = namespace(text='', images='') -%}}
{{%- if message.content is string -%}}
{{%- set part.text = message.content -%}}
{{%- else -%}}
{{%- for piece in message.content -%}}
{{%- if piece.type == 'text' -%}}{{%- set part.text = part.text + piece.text -%}}
{{%- else -%}}{{%- set part.images = part.images + '{image}' -%}}{{%- endif -%}}
{{%- endfor -%}}
{{%- endif -%}}
{{%- if message.role == 'system' -%}}
{{%- set words.system = part.text -%}}
{{%- elif message.role == 'user' -%}}
{{{{- {before} + words.system + {behind} if words.first else {later} -}}}}
{{{{- part.images + ('\\n' if part.images else '') + (part.text | trim) + {asked} -}}}}
{{%- set words.first = false -%}}
{{%- else -%}}
{{{{- part.text + {answered} -}}}}
{{%- endif -%}}
{{%- endfor -%}}
"""


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
