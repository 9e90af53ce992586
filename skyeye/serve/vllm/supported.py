"""Which of our models vLLM computes as we do."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedConfig

from skyeye.errors import SkyEyeError
from skyeye.models.base import FILE as BASE
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.projectors import PROJECTORS

#: Kinds of language models whose answers were compared with ours (``scripts/vllm_agrees.py``). Others may do something
#: to embeddings before their first layer (Gemma scales them), which is then done to words and not to image tokens.
LANGUAGE_MODELS = ("llama", "qwen2")
_EXPORT = "skyeye export CHECKPOINT OUT --merged, and vllm serve OUT"


def refuse_unsupported(config: SkyEyeConfig, folder: Path) -> None:
    """Refuse a model that vLLM would not open, or would compute otherwise.

    Raises:
        SkyEyeError: says which part of it, and what to do.
    """
    text, settings = cast(PreTrainedConfig, config.text_config), cast(dict[str, Any], config.projector)
    kind, projector = text.model_type, settings["type"]
    if (folder / BASE).is_file():
        what, remedy = f"it leaves out its base ({BASE})", _EXPORT
    elif config.lora is not None:
        what, remedy = "its adapters lie beside their weights", _EXPORT
    elif config.quantized is not None:
        what = f"its language model is held in {config.quantized}, in a layout that vLLM does not read"
        remedy = "export it without --quantize, and let vLLM do it: vllm serve OUT --quantization fp8"
    elif PROJECTORS[projector].reads_text:
        what = f"its projector ({projector}) reads the question: image tokens are other ones for every question"
        remedy = "skyeye serve FOLDER answers with it"
    elif kind not in LANGUAGE_MODELS:
        what = f"its language model is of the kind {kind}; compared with vLLM's were {', '.join(LANGUAGE_MODELS)}"
        remedy = "skyeye serve FOLDER answers with it"
    else:
        return
    raise SkyEyeError(what, where=str(folder), remedy=remedy)


def refuse_unknown_ends(ends: Collection[int], known: Collection[int], folder: Path) -> None:
    """Refuse a folder whose ``generation_config.json`` does not name what ends an answer: vLLM would not stop there.

    Args:
        ends: ids that end an answer.
        known: those at which vLLM stops.

    Raises:
        SkyEyeError: there are others.
    """
    if others := sorted(set(ends) - set(known)):
        what = f"eos_token_id does not name {', '.join(map(str, others))}, which ends an answer of this model"
        raise SkyEyeError(what, where=str(folder / "generation_config.json"), remedy="export it again")
