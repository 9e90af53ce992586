"""The model as vLLM computes it: our tower and projector, its language model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.models.interfaces import MultiModalEmbeddings, SupportsMultiModal, SupportsPP
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import AutoWeightsLoader, init_vllm_registered_model, maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors

from skyeye.data.prompts import IMAGE_MARK
from skyeye.models import modeling
from skyeye.models.projectors import build_projector
from skyeye.models.vision import build_tower
from skyeye.serve.vllm.processing import SkyEyeDummyInputs, SkyEyeMultiModalProcessor, SkyEyeProcessingInfo


@MULTIMODAL_REGISTRY.register_processor(
    SkyEyeMultiModalProcessor, info=SkyEyeProcessingInfo, dummy_inputs=SkyEyeDummyInputs
)
class SkyEyeForConditionalGeneration(nn.Module, SupportsMultiModal, SupportsPP):
    """Parts and names of weights are those of :class:`skyeye.models.modeling.SkyEyeForConditionalGeneration`, whose
    functions encode the pictures. Every process of a tensor-parallel group holds tower and projector whole."""

    packed_modules_mapping = {  # noqa: RUF012  vLLM changes it for quantised models
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }
    encode_images = modeling.SkyEyeForConditionalGeneration.encode_images
    encode_patches = modeling.SkyEyeForConditionalGeneration.encode_patches
    project_patches = modeling.SkyEyeForConditionalGeneration.project_patches

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__()
        self.config = config = vllm_config.model_config.hf_config
        self._dtype = vllm_config.model_config.dtype
        shape = config.vision_shape
        self._level_widths = shape.widths
        with self._mark_tower_model(vllm_config, "image"):  # type: ignore[operator]  # it is vLLM's
            self.vision_tower = build_tower(config.vision)
            # norm and projector stay in float32, as we load them
            self.vision_norm = nn.LayerNorm(shape.width, eps=1e-5).float() if config.vision_norm else nn.Identity()
            self.projector = build_projector(config.projector, shape.widths, config.text_config.hidden_size).float()
        with self._mark_language_model(vllm_config):  # type: ignore[operator]  # likewise
            self.language_model = init_vllm_registered_model(
                vllm_config, hf_config=config.text_config, prefix=maybe_prefix(prefix, "language_model")
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """What stands for a picture in a text of vLLM's; our prompts are ids, so nobody reads it."""
        if modality != "image":
            raise ValueError("the model sees images alone")
        return IMAGE_MARK

    def embed_multimodal(self, **kwargs: Any) -> MultiModalEmbeddings:
        """(N, tokens_per_image, hidden_size) image tokens of ``pixel_values`` (N, *config.pixel_shape)."""
        pixels = kwargs.get("pixel_values")
        return [] if pixels is None else self.encode_images(pixels).to(self._dtype)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: object,
    ) -> torch.Tensor | IntermediateTensors:
        """Hidden states of a step, image tokens already among ``inputs_embeds``."""
        embeddings = None if intermediate_tensors is not None else inputs_embeds
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=embeddings)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """Logits of the language model."""
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Names that were loaded; what compares pictures with captions is not needed for answers."""
        return AutoWeightsLoader(self, ignore_unexpected_prefixes=["retrieval."]).load_weights(weights)

    def get_mm_mapping(self) -> MultiModelKeys:
        """Which part is what."""
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector="projector", tower_model="vision_tower"
        )
