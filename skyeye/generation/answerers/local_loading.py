"""A model of transformers and its processor, from a folder of this machine."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from skyeye.errors import SkyEyeError
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.precision import resolve_precision
from skyeye.models.quantized import BYTES

#: What transformers raises for folders that are damaged, of another version, or lack a library.
_FAILURES = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)


def load_local(folder: Path, dtype: str = "auto", device: str | None = None) -> tuple[PreTrainedModel, Any]:
    """Model in evaluation mode on its device, and its processor.

    No code of the folder is run.

    Args:
        dtype: see :func:`skyeye.models.precision.resolve_precision`.
        device: ``"cpu"``, ``"cuda"`` ...; None: the GPU of this process when there is one.

    Raises:
        SkyEyeError: transformers knows no such model, or cannot open it, or it has no chat template.
    """
    if device is None:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    config = _opened("config.json", folder, lambda: AutoConfig.from_pretrained(folder))
    if config.model_type == SkyEyeConfig.model_type:
        raise SkyEyeError("is a checkpoint of this project", where=str(folder), remedy="leave out hf:")
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise SkyEyeError(
            f"is of kind {config.model_type}, which takes no pictures beside text in transformers"
            f" {transformers.__version__}",
            where=str(folder),
            remedy="serve it by a program that knows it, and ask openai:URL#NAME",
        )
    processor = _opened("the processor", folder, lambda: AutoProcessor.from_pretrained(folder))
    if not isinstance(processor, ProcessorMixin) or not getattr(processor, "chat_template", None):
        what = "has no processor with a chat template"
        remedy = "put chat_template.jinja and processor_config.json of the published model beside the weights"
        raise SkyEyeError(what, where=str(folder), remedy=remedy)
    with torch.device("meta"):
        values = AutoModelForImageTextToText.from_config(config).num_parameters()
    precision = resolve_precision(dtype, device, values)
    more = {"quantization_config": _quantized(dtype, precision)} if dtype in BYTES else {}
    model = _opened(
        "the weights",
        folder,
        lambda: AutoModelForImageTextToText.from_pretrained(folder, dtype=precision, device_map={"": device}, **more),
    )
    return model.eval(), processor


def _quantized(dtype: str, precision: torch.dtype) -> BitsAndBytesConfig:
    if find_spec("bitsandbytes") is None:
        raise SkyEyeError(
            "weights in 8 and 4 bits need bitsandbytes", where="--dtype", remedy="pip install bitsandbytes"
        )
    if dtype == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=precision)


def _opened(what: str, folder: Path, read: Any) -> Any:
    try:
        return read()
    except (*_FAILURES, json.JSONDecodeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = "fetch the folder again, or serve the model and ask openai:URL#NAME"
        raise SkyEyeError(f"transformers cannot open {what}: {first}", where=str(folder), remedy=remedy) from error
