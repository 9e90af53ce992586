"""The model: a vision tower, a projector and a causal language model that reads image tokens among words."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from transformers import (
    AutoModelForImageTextToText,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
)
from transformers.utils import ModelOutput

from skyeye.config.schema import LanguageKind, Trainable
from skyeye.errors import SkyEyeError
from skyeye.models import base, last_layer
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.language import (
    add_adapters,
    add_projector_adapters,
    before_head,
    fresh_language_model,
    is_adapter,
    rest_zero_adapters,
)
from skyeye.models.losses import IGNORE_INDEX, loss_in_pieces, mean_token_loss, places_of, targets_of
from skyeye.models.prefix_attention import is_split, lay_out, prefix_mask
from skyeye.models.projectors import build_projector, refuse_shared_prefix
from skyeye.models.repetition_penalty import RepetitionPenalty
from skyeye.models.retrieval import RET_ID, Retrieval
from skyeye.models.vision import build_tower
from skyeye.models.weights import read_json_object

#: Settings of language models that change logits behind the head, where a loss in pieces would miss it.
_AFTER_HEAD = ("final_logit_softcapping", "logit_scale", "logits_scaling")

#: How logits are computed: everywhere, only where a target is predicted, or there piece by piece and not kept.
Logits = Literal["all", "supervised", "none"]


@dataclass
class SkyEyeOutput(ModelOutput):
    """Result of a forward pass.

    Attributes:
        loss: mean cross entropy of the targets, when labels were given.
        logits: (B, T, V); with ``logits="supervised"`` (N, V), one row per target in row-major order; with ``"none"``
            nothing.
        image_features: (N, tokens_per_image, hidden) projected image tokens, when there were images.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    image_features: torch.Tensor | None = None


@dataclass
class Predictions:
    """What the language model says to a batch, and what it should have said.

    Attributes:
        logits: as in :class:`SkyEyeOutput`.
        targets: (B, T) ids that the tokens should predict, -100 where nothing is to be learnt; None without labels.
        places: (N,), where in the B * T tokens of the rows a target is predicted; None without labels.
        head: the output head.
        held: (N, H), what the head would get where a target is predicted, when the loss is to be computed piece by
            piece; None otherwise.
        middle: (B, T, H) in the middle of the layers, when it was asked for.
    """

    logits: torch.Tensor | None
    targets: torch.Tensor | None
    places: torch.Tensor | None
    head: nn.Module
    held: torch.Tensor | None = None
    middle: torch.Tensor | None = None

    def loss(self, count: int | torch.Tensor | None = None, **numbers) -> torch.Tensor:
        """Cross entropy of the targets, summed and divided by ``count`` (None: by their number).

        Args:
            numbers: of the box numbers, as for :func:`~skyeye.models.losses.token_loss`.
        """
        wanted = self.targets.flatten().index_select(0, self.places)
        if self.held is not None:
            return loss_in_pieces(self.head, self.held, wanted, count, **numbers)
        whole = self.logits.ndim == 3
        logits = self.logits.flatten(0, 1).index_select(0, self.places) if whole else self.logits
        return mean_token_loss(logits, wanted, count, **numbers)


class SkyEyeForConditionalGeneration(PreTrainedModel):
    """The model. Its parts are ``vision_tower``, ``vision_norm``, ``projector`` and ``language_model``.

    Args:
        config: sizes of the parts.
        language_model: one that already has weights; None builds a fresh one from ``config.text_config``.
        vision_tower: likewise; None builds a fresh one from ``config.vision``.
    """

    config_class = SkyEyeConfig
    config: SkyEyeConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    # Adapters, projector and the norm before it stay in float32 when the rest is loaded in half precision (reference).
    _keep_in_fp32_modules_strict: ClassVar[list[str]] = [
        "lora_A",
        "lora_B",
        "lora_magnitude",
        "projector",
        "vision_norm",
        "retrieval",
    ]

    def __init__(
        self,
        config: SkyEyeConfig,
        language_model: PreTrainedModel | None = None,
        vision_tower: nn.Module | None = None,
    ):
        attention = config.text_config._attn_implementation  # the next line would set it to that of the whole model
        super().__init__(config)
        config.text_config._attn_implementation = attention
        shape = config.vision_shape
        self.tokens_per_image, self._level_widths = config.tokens_per_image, shape.widths
        self.vision_tower = vision_tower or build_tower(config.vision)
        # the reference's ln_vision: never trained, so 1 and 0
        self.vision_norm = nn.LayerNorm(shape.width, eps=1e-5) if config.vision_norm else nn.Identity()
        self.projector = build_projector(config.projector, shape.widths, config.text_config.hidden_size)
        self.retrieval = None
        if config.retrieval is not None:
            self.retrieval = Retrieval(config.retrieval, shape.width, config.text_config.hidden_size)
        self.language_model = language_model or fresh_language_model(config.text_config)
        if config.lora is not None:
            self.language_model = add_adapters(self.language_model, config.lora)
            if config.lora["projector"]:
                add_projector_adapters(self.projector, config.lora)
        self.post_init()
        self.register_load_state_dict_post_hook(_wake_adapters)
        self.set_trainable(projector="full", language="lora" if config.lora is not None else "full")

    # ------------------------------------------------------------------ what transformers needs to know

    def init_weights(self) -> None:
        """Tie weights only: every part has initialised itself, and LoRA must keep starting at zero."""
        self.all_tied_weights_keys = self.get_expanded_tied_weights_keys(all_submodels=True)
        self.tie_weights(recompute_mapping=False)

    def _init_weights(self, module: nn.Module) -> None:
        """Called after loading: fill buffers that are not stored, such as the zero k_bias of EVA."""
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info: bool = False, **kwargs):
        """As in transformers, but a checkpoint that does not fit completely is refused, and one that leaves out its
        base finds it where it says (:mod:`skyeye.models.pretrained`); so does one in 8 or 4 bits its layers.

        Raises:
            SkyEyeError: keys are missing, unexpected or mis-shaped; they are named. Or the base is not there.
        """
        if _is_opened_by_us(Path(pretrained_model_name_or_path)):
            from skyeye.models.pretrained import open_checkpoint  # it opens models of this class

            dtype = kwargs.get("dtype") or "auto"
            if isinstance(dtype, str):
                dtype = torch.float32 if dtype == "auto" else getattr(torch, dtype)
            if unknown := {"device_map", "quantization_config", "state_dict"} & kwargs.keys():
                raise SkyEyeError(
                    f"leaves out its base or is quantised, and cannot be opened with {', '.join(sorted(unknown))}",
                    where=str(pretrained_model_name_or_path),
                    remedy="skyeye export CHECKPOINT OUT makes a folder that holds everything",
                )
            model, _ = open_checkpoint(pretrained_model_name_or_path, precision=dtype)
            return (model, {}) if output_loading_info else model
        kwargs.setdefault("ignore_mismatched_sizes", True)  # reported below, with everything else
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        problems = {kind: sorted(map(str, names)) for kind, names in info.items() if names}
        if problems:
            listed = "; ".join(f"{kind.replace('_', ' ')}: {', '.join(names[:8])}" for kind, names in problems.items())
            where = str(pretrained_model_name_or_path)
            raise SkyEyeError(listed, where=where, remedy="config.json and the weights are not of the same model")
        model.set_trainable(**model._trainable)  # loading has put trainable parameters in the place of frozen ones
        return (model, info) if output_loading_info else model

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    @property
    def generation_config(self) -> GenerationConfig:
        """The language model's."""
        return self.language_model.generation_config

    @generation_config.setter
    def generation_config(self, config: GenerationConfig) -> None:
        if "language_model" in self._modules:  # transformers sets one before there is any part
            self.language_model.generation_config = config

    @classmethod
    def can_generate(cls) -> bool:
        """Yes: what pipelines ask. ``generate`` is our own, not that of transformers' ``GenerationMixin``."""
        return True

    @property
    def dtype(self) -> torch.dtype:
        """The finer precision of tower and language model; it goes into config.json and is what both are loaded in."""
        return torch.promote_types(self.vision_tower.dtype, self.language_model.dtype)

    def _set_gradient_checkpointing(self, enable: bool = True, **kwargs) -> None:
        super()._set_gradient_checkpointing(enable=enable, **kwargs)
        for tower in self.vision_tower.towers:
            if hasattr(tower.backbone, "set_grad_checkpointing"):
                tower.backbone.set_grad_checkpointing(enable)

    # ------------------------------------------------------------------ what is trained

    def set_trainable(
        self,
        *,
        vision: Trainable = "frozen",
        projector: Trainable = "full",
        language: Trainable = "lora",
        kinds: Collection[LanguageKind] = ("lora",),
    ) -> None:
        """Decide which parameters get gradients; the only place that does.

        ``full`` trains a part's own weights (its adapters, if any, rest), ``lora`` its adapters only. ``vision_norm``
        is always frozen. A frozen tower and resting adapters also run without dropout in training mode, where adapters
        that rest and are still zero are skipped.

        Args:
            kinds: what ``language: lora`` trains there: its norms and biases, too, where they are named.

        Raises:
            SkyEyeError: ``lora`` is asked of a part that has no adapters.
        """
        adapters = {"vision": False, "projector": bool(self.config.lora and self.config.lora["projector"])}
        adapters["language"] = self.config.lora is not None
        remedies = {
            "vision": "use frozen or full",
            "projector": "set model.lora.projector: true, or train the projector in full",
            "language": "give model.lora with r > 0, or train the language model in full",
        }
        chosen: dict[str, Trainable] = {"vision": vision, "projector": projector, "language": language}
        for part, setting in chosen.items():
            if setting not in ("frozen", "lora", "full"):
                raise SkyEyeError(f"{setting!r} is not one of frozen, lora, full", where=part)
            if setting == "lora" and not adapters[part]:
                raise SkyEyeError("lora asked for, but this part has no adapters", where=part, remedy=remedies[part])
        modules = {"vision": self.vision_tower, "projector": self.projector, "language": self.language_model}
        for part, module in modules.items():
            for name, parameter in module.named_parameters():
                parameter.requires_grad_(chosen[part] == ("lora" if is_adapter(name) else "full"))
        if self.retrieval is not None:  # its maps are learnt as the projector's is
            self.retrieval.requires_grad_(projector == "full")
        self._train_kinds(chosen["language"], kinds)
        self.vision_norm.requires_grad_(False)
        self._trainable = chosen
        self.train(self.training)

    def _train_kinds(self, language: Trainable, kinds: Collection[LanguageKind]) -> None:
        """Let norms or biases of the language model learn beside its adapters."""
        if language != "lora":
            return
        norms = {
            id(p) for m in self.language_model.modules() if "norm" in type(m).__name__.lower() for p in m.parameters()
        }
        for name, parameter in self.language_model.named_parameters():
            bias = name.endswith(".bias") and id(parameter) not in norms
            if (bias and "bias" in kinds) or (id(parameter) in norms and "norm" in kinds):
                parameter.requires_grad_(True)

    def is_trained(self, part: Literal["vision", "projector", "language"]) -> bool:
        """Whether something of a part gets gradients."""
        return self._trainable[part] != "frozen"

    def train(self, mode: bool = True) -> SkyEyeForConditionalGeneration:
        super().train(mode)
        if self._trainable["vision"] == "frozen":
            self.vision_tower.eval()
        for part, module in (("projector", self.projector), ("language", self.language_model)):
            rest_zero_adapters(module, trained=self._trainable[part] == "lora")
            for name, child in module.named_modules():
                if name.endswith("lora_dropout.default") and self._trainable[part] != "lora":
                    child.eval()
        return self

    # ------------------------------------------------------------------ what is computed

    def encode_images(self, pixel_values: torch.Tensor, question_ids: torch.Tensor | None = None) -> torch.Tensor:
        """(N, *config.pixel_shape) normalised pixels -> (N, tokens_per_image, hidden_size) embeddings.

        ``question_ids`` as for :meth:`project_patches`.
        """
        return self.project_patches(self.encode_patches(pixel_values), question_ids)

    def encode_patches(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(N, *config.pixel_shape) normalised pixels -> (N, patches, width), the patch tokens, without class tokens
        unless the projector reads them.

        Levels and towers lie side by side on the feature axis. With frozen towers they are a function of the picture
        alone: this is what a feature cache holds.
        """
        pixels = pixel_values.to(self.vision_tower.dtype)
        return self.vision_tower(pixels) if self.projector.reads_prefix else self.vision_tower.patches(pixels)

    def project_patches(self, patches: torch.Tensor, question_ids: torch.Tensor | None = None) -> torch.Tensor:
        """(N, patches, width) tokens of :meth:`encode_patches` -> (N, tokens_per_image, hidden_size) embeddings.

        Args:
            question_ids: (N, L), of each image's question, for a projector that reads it.
        """
        if self.config.vision_norm:
            patches = self.vision_norm(patches.to(self.vision_norm.weight.dtype))
        tokens = patches.to(self.projector.dtype)
        if self.projector.reads_levels:
            return self.projector(list(tokens.split(self._level_widths, dim=2)))
        return self.projector(tokens) if question_ids is None else self.projector(tokens, question_ids)

    def embed_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(N, *config.pixel_shape) normalised pixels -> (N, embedding) of length 1, to be compared with captions."""
        return self._retrieval.images(self.encode_patches(pixel_values))

    def embed_texts(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(N, T) ids of :func:`skyeye.models.retrieval.caption_rows` -> (N, embedding) of length 1."""
        is_ret = input_ids == RET_ID
        known = self.get_input_embeddings()(input_ids.masked_fill(is_ret, 0))
        embeddings = torch.where(is_ret.unsqueeze(-1), self._retrieval.token.to(known.dtype), known)
        ends = is_ret.int().argmax(dim=1)
        mask = torch.arange(input_ids.shape[1], device=ends.device) <= ends[:, None]
        places = ends + torch.arange(len(ends), device=ends.device) * input_ids.shape[1]
        held = self.predict(embeddings, None, "none", attention_mask=mask.long(), target_places=places).held
        return self._retrieval.texts(held)

    @property
    def _retrieval(self) -> Retrieval:
        if self.retrieval is None:
            remedy = "train a recipe with model.retrieval"
            raise SkyEyeError("the model compares no pictures with captions", where="model.retrieval", remedy=remedy)
        return self.retrieval

    def embed(self, input_ids: torch.Tensor, image_features: torch.Tensor | None) -> torch.Tensor:
        """(B, T) ids with ``image_token_id`` where image tokens belong -> (B, T, hidden_size) embeddings.

        ``image_features`` (N, tokens_per_image, hidden_size) fill those places in order of appearance, row by row. That
        they are as many is for :meth:`check_images`.
        """
        is_image = input_ids == self.config.image_token_id
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(is_image, 0))
        if image_features is None:
            return embeddings
        return embeddings.masked_scatter(is_image.unsqueeze(-1), image_features.to(embeddings.dtype))

    def check_images(self, input_ids: torch.Tensor, image_features: torch.Tensor | None) -> None:
        """Refuse images that do not fill the places for them. The ids are read back from their device for it.

        Raises:
            SkyEyeError: there are more or fewer.
        """
        places = int((input_ids == self.config.image_token_id).sum())
        given = 0 if image_features is None else image_features.shape[0] * image_features.shape[1]
        if places != given:
            raise SkyEyeError(
                f"the rows have {places} places for image tokens, the images give {given}",
                where="input_ids",
                remedy=f"every image takes {self.tokens_per_image} places",
            )

    def forward(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        patches: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        question_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        group_ids: torch.Tensor | None = None,
        branch_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_target_tokens: int | torch.Tensor | None = None,
        logits: Logits = "all",
    ) -> SkyEyeOutput:
        """Next-token logits, and their cross entropy when labels are given.

        Args:
            input_ids: (B, T), ``image_token_id`` at image positions.
            pixel_values: (N, *config.pixel_shape), the images in order of appearance; or ``patches``, what the tower
                makes of them (:meth:`encode_patches`); or ``image_features``, already projected.
            question_ids: see :meth:`project_patches`.
            attention_mask, group_ids, branch_ids, position_ids, labels: see :meth:`predict`.
            num_target_tokens: the loss is the sum over targets divided by this; None: by their number (the reference).
            logits: ``"supervised"`` computes logits only where a target is predicted, ``"none"`` does the same piece by
                piece and keeps nothing but the loss; the loss is the same.
        """
        if pixel_values is not None:
            patches = self.encode_patches(pixel_values)
        if patches is not None:
            image_features = self.project_patches(patches, question_ids)
        self.check_images(input_ids, image_features)
        if branch_ids is not None and group_ids is not None and labels is not None:
            check_labels(group_ids, branch_ids, labels)
        layout = {"attention_mask": attention_mask, "group_ids": group_ids, "branch_ids": branch_ids}
        embeddings = self.embed(input_ids, image_features)
        predictions = self.predict(embeddings, labels, logits, position_ids=position_ids, **layout)
        loss = None if labels is None else predictions.loss(num_target_tokens)
        return SkyEyeOutput(loss, None if logits == "none" else predictions.logits, image_features)

    def predict(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor | None,
        logits: Logits,
        *,
        attention_mask: torch.Tensor | None = None,
        group_ids: torch.Tensor | None = None,
        branch_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        target_places: torch.Tensor | None = None,
        middle: bool = False,
    ) -> Predictions:
        """Run the language model on (B, T, hidden_size) embeddings.

        Args:
            labels: (B, T), not shifted, -100 where nothing is to be learnt.
            attention_mask: (B, T), 1 for tokens and 0 for padding: plain rows.
            group_ids, branch_ids: (B, T), the layout of :mod:`skyeye.models.prefix_attention`; need ``position_ids``.
            position_ids: (B, T); None counts from 0.
            target_places: (N,), where in the B * T tokens a target is predicted, by
                :func:`~skyeye.models.losses.places_of`; None: it is read off the labels, and a GPU waited for.
            middle: keep the hidden states in the middle of the layers.
        """
        of_layers: dict[str, Any] = {}
        if branch_ids is not None:
            self._check_branches(group_ids, position_ids)
            dtype, width = self._attention_dtype(embeddings), self._head_width
            implementation = self.language_model.config._attn_implementation
            attention_mask = prefix_mask(group_ids, branch_ids, implementation, dtype, width)
            if is_split(attention_mask):
                of_layers["prefix_layout"] = lay_out(attention_mask)
        targets = None if labels is None else targets_of(labels)
        if targets is not None and target_places is None:
            target_places = places_of(targets)
        select = None if logits == "all" else target_places
        if select is not None:
            of_layers |= self.last_layer_arguments(select, middle)
        head = self.get_output_embeddings()
        hold = logits == "none" and not any(getattr(self.config.text_config, name, None) for name in _AFTER_HEAD)
        with before_head(head, select, hold) as held:
            output = self.language_model(
                inputs_embeds=embeddings,
                attention_mask=attention_mask,
                position_ids=position_ids,
                use_cache=False,
                output_hidden_states=middle,
                **of_layers,
            )
        kept = output.hidden_states[len(output.hidden_states) // 2] if middle else None
        return Predictions(output.logits, targets, target_places, head, held[0] if held else None, kept)

    def last_layer_arguments(self, places: torch.Tensor, middle: bool = False) -> dict[str, torch.Tensor]:
        """What the language model is told besides, so that its last layer is computed where its outputs are read.

        Args:
            places: (N,) places in the B * T tokens.
            middle: the hidden states in the middle of the layers are read, too; of one layer they are its output.
        """
        output_is_read = middle and self.config.text_config.num_hidden_layers == 1
        narrow = not output_is_read and last_layer.can_narrow(self.language_model)
        return {last_layer.KEYWORD: places} if narrow else {}

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        question_ids: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsProcessorList | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """Continue prompts; each image is encoded once. Greedy unless asked otherwise.

        Args:
            input_ids: (B, T) prompts, padded on the left; ids at padding positions are not read.
            pixel_values: (N, *config.pixel_shape) in order of appearance; or ``image_features`` from
                :meth:`encode_images`.
            question_ids: see :meth:`project_patches`.
            attention_mask: (B, T), 0 at padding; None: no padding.
            generation_config, logits_processor, kwargs: as for ``generate`` in transformers.

        Returns:
            (B, new) ids of the answers alone, without the prompt; after the end of an answer the pad token.
        """
        if pixel_values is not None:
            image_features = self.encode_images(pixel_values, question_ids)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        prompts = input_ids.masked_fill(attention_mask == 0, 0)
        self.check_images(prompts, image_features)
        settings = copy.deepcopy(generation_config or self.generation_config)
        kwargs = settings.update(**kwargs)
        processors = LogitsProcessorList(logits_processor or [])
        if settings.repetition_penalty not in (None, 1.0):
            # transformers misplaces its own penalty when embeddings are padded on the left.
            processors.append(RepetitionPenalty(settings.repetition_penalty, self.generation_config.bos_token_id))
            settings.repetition_penalty = None
        return self.language_model.generate(
            inputs_embeds=self.embed(prompts, image_features),
            attention_mask=attention_mask,
            generation_config=settings,
            logits_processor=processors,
            **kwargs,
        )

    # ------------------------------------------------------------------ details

    def _check_branches(self, group_ids: torch.Tensor | None, position_ids: torch.Tensor | None) -> None:
        refuse_shared_prefix(type(self.projector))
        if group_ids is None or position_ids is None:
            raise SkyEyeError(
                "branch_ids without group_ids and position_ids: a branch's positions continue from its prefix"
            )

    @property
    def _head_width(self) -> int:
        text = self.config.text_config
        return getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads

    def _attention_dtype(self, embeddings: torch.Tensor) -> torch.dtype:
        kind = embeddings.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else embeddings.dtype


def _is_opened_by_us(folder: Path) -> bool:
    """A checkpoint folder that transformers cannot open: its base lies elsewhere, or its layers are quantised."""
    config = folder / "config.json"
    return (folder / base.FILE).is_file() or (config.is_file() and bool(read_json_object(config).get("quantized")))


def check_labels(group_ids: torch.Tensor, branch_ids: torch.Tensor, labels: torch.Tensor) -> None:
    """Refuse labels that nothing in their row predicts. All are (B, T); they are read back from their device for it.

    Raises:
        SkyEyeError: the first token of a branch has a label, and the branch is not the only one behind its prefix.
    """
    starts = (branch_ids[:, 1:] != branch_ids[:, :-1]) | (group_ids[:, 1:] != group_ids[:, :-1])
    of_row = group_ids + torch.arange(len(group_ids), device=group_ids.device)[:, None] * group_ids.shape[1]
    behind_prefix = (of_row[:, 1:] == of_row[:, :-1]) & (branch_ids[:, :-1] == 0) & (branch_ids[:, 1:] == 1)
    starts &= ~behind_prefix | torch.isin(of_row[:, 1:], of_row[branch_ids == 2])
    if bool((starts & (labels[:, 1:] != IGNORE_INDEX)).any()):
        raise SkyEyeError("the first token of a branch has a label, but nothing in its row predicts it")


def _wake_adapters(model: SkyEyeForConditionalGeneration, incompatible_keys: object) -> None:
    """Adapters that were skipped because they were zero may not be zero after loading."""
    model.train(model.training)


AutoModelForImageTextToText.register(SkyEyeConfig, SkyEyeForConditionalGeneration)
