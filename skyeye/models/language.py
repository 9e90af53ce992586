"""Language model: any Hugging Face causal language model, with LoRA adapters from PEFT."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedModel

from skyeye.errors import SkyEyeError
from skyeye.models.last_layer import narrow_last_layer
from skyeye.models.mapped import folder_weights, give_back_pages, put_tensor, without_weights
from skyeye.models.prefix_attention import use_prefix_attention
from skyeye.models.projectors import Projector
from skyeye.models.quantized import quantization_arguments, save_dequantized
from skyeye.models.weights import differences, shapes


def fresh_language_model(text_config: PreTrainedConfig) -> PreTrainedModel:
    """A causal language model with fresh weights."""
    return _prepared(AutoModelForCausalLM.from_config(text_config))


def pretrained_language_model(
    name_or_path: str,
    dtype: torch.dtype,
    quantize: Literal["nf4"] | None = None,
    device: torch.device | str = "cpu",
) -> PreTrainedModel:
    """A causal language model from a local directory or the hub, its weights cast to ``dtype``.

    Args:
        quantize: hold the weights of linear layers in 4 bits; the model is then on the GPU at once.
        device: that weights go to, straight from their files, unless these are of an older layout.
    """
    try:
        if quantize is None and (model := _mapped_language_model(name_or_path, dtype, device)) is not None:
            return _prepared(model)
        arguments = {} if quantize is None else quantization_arguments()
        model = AutoModelForCausalLM.from_pretrained(name_or_path, dtype=dtype, **arguments)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SkyEyeError(
            f"cannot load the language model {name_or_path!r}: {reason}",
            where="model.language.pretrained",
            remedy="give a directory with config.json and safetensors, or a hub name this machine can reach",
        ) from error
    if quantize is not None:
        save_dequantized(model)
    return _prepared(model)


def _mapped_language_model(name_or_path: str, dtype: torch.dtype, device: torch.device | str) -> PreTrainedModel | None:
    """The model with each tensor straight from its file; None where its files hold other names than the model (older
    layouts, which transformers converts) or are not on this machine."""
    folder = Path(name_or_path)
    if not folder.is_dir():
        return None
    with without_weights():
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=dtype)
    tensors = folder_weights(folder)
    expected = shapes(model.state_dict())
    tied = set(model.all_tied_weights_keys)
    if differences({n: shape for n, shape in expected.items() if n in tensors or n not in tied}, shapes(tensors)):
        return None
    for name, tensor in tensors.items():
        if put_tensor(model, name, tensor, dtype, device).data_ptr() != tensor.data_ptr():
            give_back_pages(tensor)
    model.tie_weights()
    return model


def _prepared(model: PreTrainedModel) -> PreTrainedModel:
    """With attention for shared prefixes and a last layer that can be narrowed, and without published sampling defaults
    (LLaMA-2-chat has some): answers are greedy unless asked otherwise."""
    config = model.config
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id if config.pad_token_id is not None else config.eos_token_id,
    )
    use_prefix_attention(model)
    narrow_last_layer(model)
    return model


def add_adapters(model: PreTrainedModel, lora: Mapping[str, Any]) -> nn.Module:
    """Wrap a language model with LoRA; the adapters start at zero effect and are float32 whatever the base is.

    Args:
        lora: the fields of :class:`skyeye.config.schema.LoraConfig`.
    """
    try:
        with warnings.catch_warnings():  # PEFT asks for a property that transformers has renamed
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
            config = _peft_config(lora, list(lora["target_modules"]), task_type="CAUSAL_LM")
            return _prepared_adapters(get_peft_model(model, config))
    except ValueError as error:  # PEFT found none of the target modules
        names = sorted({name.split(".")[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear)})
        raise SkyEyeError(
            f"no layer is called any of {', '.join(lora['target_modules'])}",
            where="model.lora.target_modules",
            remedy=f"this language model's linear layers are {', '.join(names)}",
        ) from error


def add_projector_adapters(projector: Projector, lora: Mapping[str, Any]) -> None:
    """Put LoRA on the projector's linear layers, in place."""
    names = [name for name, part in projector.named_modules() if isinstance(part, nn.Linear)]
    _prepared_adapters(inject_adapter_in_model(_peft_config(lora, names), projector))


def _prepared_adapters(module: nn.Module) -> nn.Module:
    """With :class:`AdapterDropout`, and adapters that take what they are given where autocast is on.

    PEFT casts it to the float32 of their weights, drops out in that, and autocast casts it back for the product: the
    same numbers for two copies and twice the memory. DoRA takes the lengths of weights in the type of what it is given,
    so it keeps the cast.
    """
    for layer in module.modules():
        if not isinstance(layer, LoraLayer):
            continue
        for name, dropout in layer.lora_dropout.items():
            if isinstance(dropout, nn.Dropout):  # without a rate PEFT has none
                layer.lora_dropout[name] = AdapterDropout(dropout.p)
        if not any(layer.use_dora.values()):
            layer.register_forward_pre_hook(_cast_without_autocast)
    return module


class AdapterDropout(nn.Dropout):
    """Dropout that on a CPU takes its mask from 16 random bits a value.

    torch draws a number for each value there, and on one core: a tenth of the forward pass of a small model. The rate
    is rounded to 1/65,536, and what is kept is scaled by what is kept on average.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dropped = round(self.p * (1 << 16))
        if not self.training or x.device.type != "cpu" or torch.compiler.is_compiling() or dropped == 1 << 16:
            return super().forward(x)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = bits >= dropped - (1 << 15)
        return x * kept.to(x.dtype).mul_((1 << 16) / ((1 << 16) - dropped))


def _cast_without_autocast(layer: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
    layer.cast_input_dtype_enabled = not torch.is_autocast_enabled(arguments[0].device.type)


def _peft_config(lora: Mapping[str, Any], target_modules: list[str], task_type: str | None = None) -> LoraConfig:
    return LoraConfig(
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=target_modules,
        bias="none",
        task_type=task_type,
        use_rslora=lora.get("variant") == "rslora",  # not in the configurations of older checkpoints
        use_dora=lora.get("variant") == "dora",
    )


@contextmanager
def before_head(head: nn.Module, places: torch.Tensor | None, hold: bool = False) -> Iterator[list[torch.Tensor]]:
    """Let only the hidden states at ``places`` (N,) of the B * T reach the output head, as (N, H); None: all of them.

    This works for any language model, whatever it does to its logits afterwards.

    Args:
        hold: the head gets none of them; they are put into the list that this yields, for a loss in pieces.
    """
    held: list[torch.Tensor] = []
    if places is None:
        yield held
        return

    def pass_on(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        chosen = arguments[0].flatten(0, 1).index_select(0, places)
        if not hold:
            return (chosen,)
        held.append(chosen)
        return (chosen[:0],)  # the head is still called: ZeRO-3 counts on it

    handle = head.register_forward_pre_hook(pass_on)
    try:
        yield held
    finally:
        handle.remove()


def rest_zero_adapters(module: nn.Module, *, trained: bool) -> None:
    """In training mode, skip adapters that are not trained and still zero; wake up all others.

    A zero adapter adds nothing, so skipping it is exact; it saves a seventh of the time where a small model is first
    trained in full and adapted later. One of DoRA also sets the length of weights, so it is never skipped.
    """
    for layer in module.modules():
        if isinstance(layer, LoraLayer):
            needed = trained or not layer.training or any(layer.use_dora.values())
            needed = needed or any(_may_add(part.weight) for part in layer.lora_B.values())
            if layer.disable_adapters == needed:
                layer.enable_adapters(needed)  # which also decides what is trained, so that is said again
                for name, parameter in layer.named_parameters():
                    if is_adapter(f".{name}"):
                        parameter.requires_grad_(trained)


def _may_add(weight: torch.Tensor) -> bool:
    # Under ZeRO-3 and on the meta device the values are not at hand: then the adapter is taken to be in use.
    return weight.is_meta or weight.numel() == 0 or bool(weight.any())


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to an adapter: LoRA's A and B, and DoRA's magnitudes."""
    return ".lora_" in name
