"""The layout of RSGPT, which is InstructBLIP's of LAVIS: a file with what was trained, everything else elsewhere.

``{"model": {"query_tokens", "ln_vision.*", "Qformer.bert.*", "llm_proj.*"}, "optimizer", "config", "scaler", "epoch"}``
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from skyeye.config.schema import LoraConfig, ModelConfig, QFormerProjectorConfig
from skyeye.data.files import whole_file
from skyeye.errors import SkyEyeError
from skyeye.models.base import Base, base_of
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.converters.published import Published, refuse_other_family, tokenizer_of
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.weights import read_tensors

logger = logging.getLogger(__name__)
_QFORMER = "Qformer.bert."
#: transformers' name of a part -> LAVIS's.
_PARTS = (
    (".attention.attention.", ".attention.self."),
    (".crossattention.attention.", ".crossattention.self."),
    ("embeddings.layernorm.", "embeddings.LayerNorm."),
)
#: What such files hold and nothing reads: a buffer of positions, and the head of BERT's pre-training.
_SURPLUS = re.compile(r"Qformer\.(bert\.embeddings\.position_ids|cls\..+)")


def knows(path: Path) -> bool:
    """Whether a file holds a Q-Former in LAVIS's names."""
    if not path.is_file() or path.suffix not in (".pth", ".pt"):
        return False
    try:
        return any(name.startswith(_QFORMER) for name in read_tensors(path))
    except SkyEyeError:
        return False  # another reader says what is wrong with it


def read(path: Path, base: Path | ModelConfig | None = None, family: str | None = None) -> Published:
    """A file in RSGPT's layout, in our words.

    Args:
        base: the model section of a recipe with tower, language model and the vocabulary of questions.
        family: this one, or None.

    Raises:
        SkyEyeError: no recipe is given, or its projector is another one.
    """
    refuse_other_family(family, "rsgpt", path)
    if not isinstance(base, ModelConfig) or not isinstance(base.projector, QFormerProjectorConfig):
        raise SkyEyeError(
            "holds only what was trained: Q-Former, queries, their norm and the last layer",
            where=str(path),
            remedy="name the recipe with its other parts, as --base configs/models/rsgpt.yaml",
        )
    found = read_tensors(path)
    surplus = [name for name in found if _SURPLUS.fullmatch(name)]
    if surplus:
        logger.info("%s: not used: %d tensors, e.g. %s", path, len(surplus), surplus[0])
    tensors = {our_name(name): tensor for name, tensor in found.items() if name not in surplus}
    model = ModelConfig(base.vision, False, base.projector, base.language, base.tokenizer, LoraConfig(r=0), base.prompt)
    if model.tokenizer.path is None and model.language.pretrained:
        model.tokenizer.path = tokenizer_of(Path(model.language.pretrained)) or model.language.pretrained
    return Published(model, tensors, base_of(model, {"vision", "language"}), "give the recipe that it was trained with")


def write(
    target: Path,
    config: SkyEyeConfig,
    tensors: Mapping[str, torch.Tensor],
    base: Base,
    processor: SkyEyeProcessor,
) -> None:
    """Write what RSGPT trains of a checkpoint of ours, as LAVIS's runner does.

    Raises:
        SkyEyeError: its projector is no Q-Former.
    """
    if config.projector["type"] != "qformer":
        raise SkyEyeError("the projector is no qformer", where="--layout rsgpt")
    found = {their_name(n): t.clone() for n, t in tensors.items() if n.startswith("projector.")}
    positions = torch.arange(config.projector["positions"]).expand(1, -1).clone()
    model = {**found, f"{_QFORMER}embeddings.position_ids": positions}
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as file:
        torch.save({"model": model, "optimizer": None, "config": {}, "scaler": None, "epoch": 0}, file)


def our_name(name: str) -> str:
    """Our plain name of one of LAVIS's tensors."""
    if not name.startswith(_QFORMER):
        return f"projector.{name}"
    name = name.removeprefix(_QFORMER)
    for ours, theirs in _PARTS:
        name = name.replace(theirs, ours)
    return f"projector.qformer.{name}"


def their_name(name: str) -> str:
    """LAVIS's name of one of our projector's tensors."""
    name = name.removeprefix("projector.")
    if not name.startswith("qformer."):
        return name
    name = name.removeprefix("qformer.")
    for ours, theirs in _PARTS:
        name = name.replace(ours, theirs)
    return _QFORMER + name
