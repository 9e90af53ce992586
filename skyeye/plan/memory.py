"""What a training step keeps in memory, counted without a device: the step is run on tensors without content.

Every tensor that the forward and the backward pass make is seen by :class:`LiveBytes`, from its first byte to its last
reference; autograd, autocast, gradient checkpointing and the loss in pieces are the real ones. So nothing is estimated
by a formula, and a change of the model changes the count.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import partial

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from skyeye.models.checkpointing import checkpoint_layers
from skyeye.models.losses import loss_in_pieces, word_loss
from skyeye.models.objective import TrainingObjective
from skyeye.models.prefix_attention import NAME as SHARED

#: Attention of plain causal rows under a name of its own: by itself transformers gives tensors without content a mask.
PLAIN = "skyeye_plain_causal"
AttentionInterface.register(PLAIN, sdpa_attention_forward)
AttentionMaskInterface.register(PLAIN, lambda *_, **__: None)

#: Words that an image token is taken to mean, where the word-region alignment is learnt.
WORDS_PER_TOKEN = 2


@dataclass(frozen=True)
class Load:
    """One micro-batch: tokens of the pack, images in it, tokens that are learnt."""

    tokens: int
    images: int
    targets: int


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a micro-batch at the moment of the peak; their sum is the peak.

    Attributes:
        activations: what the forward pass keeps for the backward pass, and the inputs.
        logits: of the piece of targets that is in work, with what its loss makes of them.
        working: what a layer of the backward pass, or of the frozen tower, needs besides.
    """

    activations: int
    logits: int
    working: int

    @property
    def peak(self) -> int:
        return self.activations + self.logits + self.working


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors made while it is active: those alive now, and the most that were alive together."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.prim.device.default:  # two of three calls of a backward pass; it makes nothing
            return args[0].fake_device
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor.untyped_storage())
        return result

    def ignore(self, module: nn.Module) -> None:
        """Leave out what was there before: views of weights are no new memory."""
        for tensor in (*module.parameters(), *module.buffers()):
            self._known.add(tensor.untyped_storage()._cdata)
            if tensor.grad is not None:
                self._known.add(tensor.grad.untyped_storage()._cdata)

    def restart(self) -> None:
        """Forget the peak so far."""
        self.peak = self.now

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size).atexit = False

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class StepCounter:
    """Counts the memory of micro-batches of one stage.

    Args:
        objective: on the meta device, with the trained parts of its model chosen; it is changed: its tensors become
            stand-ins for tensors of a device.
        autocast: the lower precision of ``run.precision``; None: none.
        features: the tower does not run, its output comes from a feature cache of this type.
        gpu: count what CUDA's kernels keep, where they differ from the CPU's.
        resting: adapters that are not trained have not been trained before either: the model skips them.

    Attention is that of plain causal rows: FlexAttention keeps the same (queries, keys, values, result, one number a
    query and head), ``split_attention`` on a CPU keeps its weights in addition. Gradients of trained parts are there
    all the time, as in all micro-batches of a step but its first.
    """

    def __init__(
        self,
        objective: TrainingObjective,
        *,
        autocast: torch.dtype | None,
        features: torch.dtype | None = None,
        gpu: bool = True,
        resting: bool = False,
    ):
        self.objective, self.model, self.autocast, self.features = objective, objective.model, autocast, features
        # Stand-ins for tensors of the CPU: those of CUDA need a CUDA build of torch, and autocast knows no others.
        self.mode = FakeTensorMode()
        if self.model.language_model.config._attn_implementation == SHARED:
            self.model.language_model.set_attn_implementation(PLAIN)
        objective.train()
        if resting:
            for layer in self.model.modules():
                if isinstance(layer, LoraLayer) and not any(p.requires_grad for p in layer.lora_B.parameters()):
                    layer.enable_adapters(False)
        with self.mode:
            without_content(objective)
        if gpu:
            fuse_dropout(objective)

    def count(self, load: Load, checkpointing: bool) -> StepMemory:
        """Bytes of one micro-batch, besides weights, gradients and optimiser."""
        live = LiveBytes()
        live.ignore(self.objective)
        checkpoint_layers(self.model, checkpointing)
        with self.mode, live:
            with torch.autocast("cpu", self.autocast or torch.bfloat16, enabled=self.autocast is not None):
                inputs = self._inputs(load)
                features = self.model.project_patches(inputs if self.features else self.model.encode_patches(inputs))
                # Cut before the head: its peak is told apart from that of the layers below.
                hidden, losses = self._body(features, load)
                cut = None if hidden is None else hidden.detach().requires_grad_(hidden.requires_grad)
                before, kept = live.peak, live.now
                live.restart()
                if cut is not None:
                    head, targets = self.model.get_output_embeddings(), torch.zeros(load.targets, dtype=torch.long)
                    loss = loss_in_pieces(head, cut, targets, load.targets, **self.objective.number_targets)
            if cut is not None:
                loss.backward()
                del loss
            at_head = live.peak
            if hidden is not None and hidden.requires_grad:
                torch.autograd.backward([hidden, *losses], [cut.grad, *(None for _ in losses)])
            elif losses:
                torch.autograd.backward(losses)
            peak = max(before, at_head, live.peak)
        return StepMemory(kept, at_head - kept, peak - at_head)

    def _inputs(self, load: Load) -> torch.Tensor:
        """Pixels, or what a feature cache holds for them."""
        if self.features is None:
            return torch.empty(load.images, *self.model.config.pixel_shape)
        shape = self.model.config.vision_shape
        return torch.empty(load.images, shape.tokens, shape.width, dtype=self.features)

    def _body(self, features: torch.Tensor, load: Load) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
        """The hidden states at the targets, None where answers are not learnt, and the losses of the alignment."""
        objective, losses = self.objective, []
        shown = features.flatten(0, 1)
        if objective.alignment.words:
            words = torch.zeros(len(shown), WORDS_PER_TOKEN, dtype=torch.long)
            losses.append(word_loss(shown, words, objective.word_embeddings(), objective.alignment.sharpness))
        if objective.region_reader is not None:
            losses.append(objective.region_reader.loss(shown, torch.zeros(len(shown), 4, dtype=torch.long)))
        if not objective.answers:
            return None, losses
        words = self.model.get_input_embeddings()(torch.zeros(load.tokens - len(shown), dtype=torch.long))
        embeddings = torch.cat([shown.to(words.dtype), words])[None]
        places = torch.zeros(load.targets, dtype=torch.long)
        held: list[torch.Tensor] = []

        def hold(_: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
            held.append(arguments[0][0].index_select(0, places))
            return (held[0][:0],)

        handle = self.model.get_output_embeddings().register_forward_pre_hook(hold)
        try:
            output = self.model.language_model(
                inputs_embeds=embeddings,
                use_cache=False,
                output_hidden_states=objective.phrase_reader is not None,
                **self.model.last_layer_arguments(places, middle=objective.phrase_reader is not None),
            )
        finally:
            handle.remove()
        if objective.phrase_reader is not None:
            middle = output.hidden_states[len(output.hidden_states) // 2][0, : load.targets]
            losses.append(objective.phrase_reader.loss(middle, torch.zeros(load.targets, 4, dtype=torch.long)))
        return held[0], losses


def without_content(model: nn.Module) -> None:
    """Put stand-ins in the place of all weights and buffers, with gradients for those that are trained."""
    made: dict[int, nn.Parameter] = {}  # tied weights stay one
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                    made[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                    if parameter.requires_grad:
                        made[id(parameter)].grad = torch.empty_like(empty)
                module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def fuse_dropout(model: nn.Module) -> None:
    """Let dropout keep a byte a value, as CUDA's kernel does; the CPU's keeps the factors."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.forward = partial(_fused_dropout, module)


def _fused_dropout(module: nn.Dropout, values: torch.Tensor) -> torch.Tensor:
    return torch.native_dropout(values, module.p, module.training)[0] if module.training else values
