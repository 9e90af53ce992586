"""A checkpoint becomes the model and the processor that belong together: the only loader, for training, evaluation and
chat.

A checkpoint is a folder that training wrote (with everything, or with what was trained and the name of its base), a
name on the hub of one, a file of the reference, which needs a base, or a folder of another project
(:mod:`skyeye.models.published`). The model is built without memory; each tensor
goes from its mapped file to its place, in the precision it is used in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from skyeye.config.schema import ModelConfig
from skyeye.data.hub import local_path
from skyeye.errors import SkyEyeError
from skyeye.models.adapters import ADAPTERS, merged, plain_name, unwrapped, without_adapters
from skyeye.models.base import NO_BASE, Base, base_of, checked, read_base, replaced
from skyeye.models.build import model_config
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.converters.minigpt_v2 import advice, our_name, reference_name
from skyeye.models.described import own_words, refuse_other_computation, refuse_other_config
from skyeye.models.mapped import folder_weights, give_back_pages, map_safetensors, put_tensor, without_weights
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.packed import Packed, put_packed, take_packed
from skyeye.models.precision import Part, dtype_of, refuse_what_does_not_fit
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.published import layout_of
from skyeye.models.quantized import check_available, put_quantized, quantizable
from skyeye.models.tokenizer import load_tokenizer
from skyeye.models.two_towers.build import is_own_folder
from skyeye.models.vision.weights import tower_tensors
from skyeye.models.weights import differences, read_json_object, read_tensors, shapes

#: Precision of tower and language model, one for both or by part, or chosen by the numbers that the model has;
#: adapters, projector and its norm are float32 always.
Precision = torch.dtype | Mapping[Part, torch.dtype] | Callable[[int], torch.dtype]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint is made of, before anything is read.

    Attributes:
        path: folder or file.
        config: of its model.
        tensors: what it holds itself, mapped, by :func:`~skyeye.models.adapters.plain_name`.
        base: the parts that it leaves out.
        words: folder of its processor; None: ``recipe`` says how it is made.
        recipe: the model section of the base recipe, where one was named.
        remedy: what to do where its tensors do not fit together, where the layout knows more of it.
        packed: weights that it holds in 8 or 4 bits, by plain name; among ``tensors`` they have their shapes alone.
    """

    path: Path
    config: SkyEyeConfig
    tensors: dict[str, torch.Tensor]
    base: Base
    words: Path | None = None
    recipe: ModelConfig | None = None
    remedy: str | None = None
    packed: Mapping[str, Packed] = field(default_factory=dict)

    @property
    def quantized(self) -> str | None:
        """``int8`` or ``int4`` where it holds weights so."""
        return next((packed.kind for packed in self.packed.values()), None)

    def own_words(self) -> dict[str, Any]:
        """Its configuration as far as its tensors depend on it: of a tower that lies elsewhere, nothing."""
        return self.config.to_dict() | ({"vision": None} if self.base.vision else {})

    def processor(self) -> SkyEyeProcessor:
        """The processor that belongs to the model."""
        if self.words is not None:
            return _own_processor(self.words, self.config)
        if self.recipe is None:
            raise SkyEyeError("holds no tokenizer", where=str(self.path), remedy="name a base: --base RECIPE or FOLDER")
        named = self.recipe.tokenizer.path or self.recipe.language.pretrained
        if named is None:
            what = "the recipe names no tokenizer: its model.tokenizer is learnt from data"
            raise SkyEyeError(what, where="--base", remedy="name the checkpoint folder that was trained from it")
        tokenizer = load_tokenizer(named)
        return SkyEyeProcessor.from_config(self.recipe, tokenizer)


def open_checkpoint(
    path: str | Path,
    *,
    base: str | Path | ModelConfig | None = None,
    precision: Precision = torch.float32,
    device: torch.device | str = "cpu",
    keep_adapters: bool = True,
    family: str | None = None,
    quantize: str | None = None,
) -> tuple[SkyEyeForConditionalGeneration, SkyEyeProcessor]:
    """Load a checkpoint.

    Args:
        path: folder written by training or by ``save_pretrained`` of model and processor, a name of one on the hub, a
            file of the reference, or a folder of another project.
        base: where the frozen parts come from: a folder, or the model section of a recipe. A file of the reference
            needs it; of a folder that names its base, other places of the same files.
        keep_adapters: False adds the adapters to their weights, in float32 and before these are rounded.
        family: of a folder of another project, where its files do not say it.
        quantize: ``int8`` or ``int4``: the linear layers of the language model are held so, for inference alone;
            ``precision`` is that of the rest. None: as the checkpoint holds them.

    Raises:
        SkyEyeError: there is no checkpoint; its base is missing or another one; tensors are missing, unexpected or
            mis-shaped; it does not fit into memory. All this is known before anything large is read.
    """
    found = find_checkpoint(path, base, family)
    quantize = _quantized_as(found, quantize)
    model, tensors = empty_model(found)
    if callable(precision):
        precision = precision(sum(tensor.numel() for tensor in tensors.values()))
    dtypes = {
        name: dtype_of(name, precision) if tensor.is_floating_point() else tensor.dtype
        for name, tensor in tensors.items()
    }
    few = set(found.packed) or {plain_name(f"language_model.{n}") for n in quantizable(model.language_model)}
    refuse_what_does_not_fit(tensors, dtypes, device, str(found.path), few, quantize)
    items: Iterable[tuple[str, torch.Tensor, torch.Tensor]] = ((name, t, t) for name, t in tensors.items())
    if not keep_adapters:
        items = merged(tensors, found.config.lora)
        _take_adapters_out(model)
    _place(model, items, found.packed, dtypes, device, (few if quantize else set(), quantize))
    for module in model.vision_tower.modules():
        if hasattr(module, "k_bias"):  # EVA's zero bias of keys is no weight, and stands beside two that are
            module.k_bias = module.k_bias.to(module.q_bias.dtype)
    model.tie_weights(recompute_mapping=False)
    model.config.quantized = quantize
    model.set_trainable(**({"vision": "frozen", "language": "frozen"} if quantize else model._trainable))
    return model.eval().to(device), found.processor()


def _quantized_as(found: Checkpoint, asked: str | None) -> str | None:
    """How the linear layers of the language model will be held: as the checkpoint holds them, or as it is asked."""
    if found.quantized is not None and asked not in (None, found.quantized):
        what = f"its language model is held in {found.quantized}, and cannot be made {asked}"
        raise SkyEyeError(what, where=str(found.path), remedy="leave out --dtype, or ask what it was exported from")
    if asked is not None:
        check_available(asked)
    return found.quantized or asked


def _place(
    model: SkyEyeForConditionalGeneration,
    items: Iterable[tuple[str, torch.Tensor, torch.Tensor]],
    packed: Mapping[str, Packed],
    dtypes: Mapping[str, torch.dtype],
    device: torch.device | str,
    quantize: tuple[set[str], str | None],
) -> None:
    """Each tensor in its place.

    Args:
        items: (plain name, value, the mapped tensor that it was made of).
        quantize: names of the weights to quantise, and how.
    """
    few, kind = quantize
    own = {plain_name(name): name for name in model.state_dict()}
    for name, value, original in items:
        layer = own[name].removesuffix(".weight")
        if name in packed:
            put_packed(model, layer, packed[name], dtypes[name], device)
        elif kind and name in few:
            put_quantized(model, layer, value, kind, dtypes[name], device)
            give_back_pages(original)
        elif put_tensor(model, own[name], value, dtypes[name], device).data_ptr() != original.data_ptr():
            give_back_pages(original)


def empty_model(found: Checkpoint) -> tuple[SkyEyeForConditionalGeneration, dict[str, torch.Tensor]]:
    """The model of a checkpoint without memory, and all its tensors, mapped, by plain name.

    Raises:
        SkyEyeError: they do not fit together, or its base is missing or another one.
    """
    with _in_our_words(found.path), without_weights():
        model = SkyEyeForConditionalGeneration(found.config)
    tensors = found.tensors | _base_tensors(model, found)
    if found.base:  # what names its base holds what was trained, and this is not
        tensors = _untrained_norm(found.config) | tensors
    _refuse_what_differs(model, tensors, found)
    return model, tensors


def find_checkpoint(
    path: str | Path, base: str | Path | ModelConfig | None = None, family: str | None = None
) -> Checkpoint:
    """What a checkpoint is made of; nothing but headers is read.

    Raises:
        SkyEyeError: as :func:`open_checkpoint`, as far as that can be known from headers.
    """
    where = local_path(str(path))
    if where is None:
        raise SkyEyeError(
            "no such checkpoint",
            where=str(path),
            remedy="give a folder like runs/NAME/checkpoints/STAGE, a .pth file with --base, or the name of one"
            " that was downloaded from the hub",
        )
    if is_own_folder(where) or (isinstance(base, ModelConfig) and base.text is not None):
        remedy = "score it: skyeye eval CHECKPOINT --suite retrieval, or --suite zero_shot"
        raise SkyEyeError("two towers compare pictures with texts and answer nothing", where=str(where), remedy=remedy)
    layout = layout_of(where)
    if layout is not None:
        found = layout.read(where, Path(base) if isinstance(base, str) else base, family)
        return Checkpoint(where, model_config(found.model), found.tensors, found.base, None, found.model, found.remedy)
    return _folder(where, base) if where.is_dir() else _reference(where, base)


def _folder(path: Path, base: str | Path | ModelConfig | None) -> Checkpoint:
    if not (path / "config.json").is_file():
        inside = sorted(file.parent for file in path.glob("checkpoints/*/config.json"))
        remedy = f"name one of its models, e.g. {inside[-1]}" if inside else "give a folder runs/NAME/checkpoints/STAGE"
        raise SkyEyeError("not a checkpoint directory: no config.json", where=str(path), remedy=remedy)
    refuse_other_config(read_json_object(path / "config.json"), path / "config.json")
    with _in_our_words(path):
        config = SkyEyeConfig.from_pretrained(path)
    named = read_base(path)
    if named and isinstance(base, ModelConfig):
        named = replaced(named, base, str(path))
    elif base is not None:
        raise SkyEyeError("it holds or names its base itself", where=str(path), remedy="leave out --base")
    tensors = folder_tensors(path)
    packed = take_packed(tensors, path) if config.quantized else {}
    return Checkpoint(path, config, tensors, named, words=path, packed=packed)


def _own_processor(folder: Path, config: SkyEyeConfig) -> SkyEyeProcessor:
    with _in_our_words(folder):
        processor = SkyEyeProcessor.from_pretrained(folder)
    sizes = [tower["image_size"] for tower in config.towers]
    pixels = sizes if isinstance(config.vision, list) else sizes[0]
    if pixels != processor.image_size or config.tokens_per_image != processor.tokens_per_image:
        what = f"makes {processor.tokens_per_image} tokens of {processor.image_size} pixels"
        what += f", the model takes {config.tokens_per_image} of {pixels}"
        raise SkyEyeError(what, where=str(folder / "processor_config.json"), remedy="copy or export it again")
    return processor


@contextmanager
def _in_our_words(where: Path) -> Iterator[None]:
    """Of files that are damaged, transformers and timm raise many types of errors."""
    try:
        yield
    except (SkyEyeError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        remedy = "its files are damaged or of another model: copy or export it again"
        raise SkyEyeError(f"cannot be opened: {reason}", where=str(where), remedy=remedy) from error


def folder_tensors(path: Path) -> dict[str, torch.Tensor]:
    """What a checkpoint folder holds, mapped, by plain name.

    Raises:
        SkyEyeError: it holds no weights, or a file is damaged.
    """
    files = sorted(path.glob("model*.safetensors"))
    if not files:
        raise SkyEyeError("no model.safetensors in this folder", where=str(path), remedy="give a checkpoint folder")
    tensors = {plain_name(name): tensor for name, tensor in map_safetensors(files).items()}
    adapters = path / ADAPTERS
    if adapters.is_file():
        tensors |= {plain_name(f"language_model.{n}"): t for n, t in map_safetensors([adapters]).items()}
    return tensors


def parts_held(path: str | Path) -> set[Part]:
    """The parts (tower, language model) whose own weights a checkpoint holds."""
    path = Path(path)
    if layout_of(path) is not None:
        names = set(find_checkpoint(path).tensors)
    elif path.is_dir():
        names = set(folder_tensors(path))
    else:
        names = {plain_name(our_name(name)) for name in read_tensors(path)}
    own = [name for name in names if ".lora_" not in name]
    parts: dict[str, Part] = {"vision_tower.": "vision", "language_model.": "language"}
    return {part for opening, part in parts.items() if any(name.startswith(opening) for name in own)}


def _reference(path: Path, base: str | Path | ModelConfig | None) -> Checkpoint:
    words = own_words(path)
    if base is None and ("text_config" not in words or parts_held(path) != {"vision", "language"}):
        raise SkyEyeError(
            "holds only what was trained, adapters and projection",
            where=str(path),
            remedy="name a base: --base RECIPE that names the pretrained parts, or --base FOLDER of a checkpoint",
        )
    tensors = {plain_name(our_name(name)): tensor for name, tensor in read_tensors(path).items()}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("rotary_emb.inv_freq")}
    if base is None:
        with _in_our_words(path):
            return Checkpoint(path, SkyEyeConfig.from_dict(refuse_other_config(words, path)), tensors, NO_BASE)
    if isinstance(base, ModelConfig):
        frozen = {"vision", "language"}
        parts = base_of(base, frozen)
        return Checkpoint(path, model_config(base), tensors, parts, recipe=base)
    under = _folder(Path(base), None)
    held = {name: tensor for name, tensor in under.tensors.items() if ".lora_" not in name}
    return Checkpoint(path, under.config, held | tensors, under.base, words=under.words)


def _untrained_norm(config: SkyEyeConfig) -> dict[str, torch.Tensor]:
    """The norm before the projector, which the reference never trains and does not write."""
    if not config.vision_norm:
        return {}
    width = config.vision_shape.width
    return {"vision_norm.weight": torch.ones(width), "vision_norm.bias": torch.zeros(width)}


def _base_tensors(model: SkyEyeForConditionalGeneration, found: Checkpoint) -> dict[str, torch.Tensor]:
    """The parts that a checkpoint leaves out, mapped, by plain name."""
    tensors: dict[str, torch.Tensor] = {}
    several = len(model.vision_tower.towers) > 1
    for number, (part, tower) in enumerate(zip(found.base.vision, model.vision_tower.towers, strict=False)):
        if part is not None:
            opening = f"vision_tower.towers.{number}.backbone." if several else "vision_tower.backbone."
            file = checked(part, "vision tower", str(found.path))
            tensors |= {opening + name: tensor for name, tensor in tower_tensors(tower, file).items()}
    if found.base.language is not None:
        folder = checked(found.base.language, "language model", str(found.path))
        tensors |= {f"language_model.{name}": tensor for name, tensor in folder_weights(folder).items()}
    return tensors


def _refuse_what_differs(
    model: SkyEyeForConditionalGeneration, tensors: Mapping[str, torch.Tensor], found: Checkpoint
) -> None:
    tied = {plain_name(name) for name in model.all_tied_weights_keys}
    expected = {plain_name(name): tensor.shape for name, tensor in model.state_dict().items()}
    expected = {name: shape for name, shape in expected.items() if name in tensors or name not in tied}
    problems = differences(expected, shapes(tensors))
    if problems:
        theirs = {reference_name(name): tensor for name, tensor in found.tensors.items()}
        remedy = advice(model.state_dict(), theirs)
        if found.remedy is not None:
            remedy = found.remedy
        elif found.path.is_dir():
            remedy = "config.json and the weights are not of the same model"
        raise SkyEyeError("; ".join(problems), where=str(found.path), remedy=remedy)
    if not found.path.is_dir() and own_words(found.path):
        refuse_other_computation(found.config, found.tensors, own_words(found.path), found.path)


def _take_adapters_out(model: SkyEyeForConditionalGeneration) -> None:
    without_adapters(model)
    model.language_model = unwrapped(model.language_model)
    model.config.lora = None
    model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)
    model._trainable = {"vision": "frozen", "projector": "full", "language": "full"}
