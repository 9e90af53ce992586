"""Pictures become pixels, and the places of their tokens in a prompt are told to vLLM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature
from vllm.config.multimodal import MultiModalDummyOptions
from vllm.inputs import MultiModalDataDict
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.media import MediaWithBytes
from vllm.multimodal.parse import ImageProcessorItems, MultiModalDataItems, MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    ProcessorInputs,
    PromptReplacement,
    PromptUpdate,
)

from skyeye.data.images.load import load_image, to_rgb
from skyeye.data.sequence import IMAGE_TOKEN_ID
from skyeye.errors import SkyEyeError
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.api.images import as_file


class PictureParser(MultiModalDataParser):
    """Pictures as :func:`~skyeye.data.images.load.load_image` reads them: of more than 8 bits by our rule, alpha
    dropped."""

    def _parse_image_data(self, data: Any) -> Any:
        if isinstance(data, (Image.Image, MediaWithBytes)):
            data = [data]
        return super()._parse_image_data([_read(each) for each in data] if isinstance(data, list) else data)


class SkyEyeProcessingInfo(BaseProcessingInfo):
    """What vLLM asks about our pictures."""

    def get_hf_config(self) -> SkyEyeConfig:
        """The configuration of the folder."""
        return self.ctx.get_hf_config(SkyEyeConfig)

    @cached_property
    def processor(self) -> SkyEyeProcessor:
        """Of the folder; its pixels are used."""
        return SkyEyeProcessor.from_pretrained(self.model_id)

    def get_hf_processor(self, **kwargs: object) -> SkyEyeProcessor:
        """:attr:`processor`; it takes no settings from requests."""
        return self.processor

    def get_data_parser(self) -> MultiModalDataParser:
        """Our way to read pictures."""
        return PictureParser()

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Any number of pictures."""
        return {"image": None}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        """Image tokens of a picture, whatever its size."""
        return {"image": self.get_hf_config().tokens_per_image}


class SkyEyeDummyInputs(BaseDummyInputsBuilder[SkyEyeProcessingInfo]):
    """Pictures to measure memory with."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """Nothing: ids of image tokens stand for no text."""
        return ""

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: MultiModalDummyOptions
    ) -> MultiModalDataDict:
        """White pictures as large as the largest tower takes them."""
        side = max(tower["image_size"] for tower in self.info.get_hf_config().towers)
        count, overrides = mm_counts.get("image", 0), mm_options.get("image")
        return {"image": self._get_dummy_images(width=side, height=side, num_images=count, overrides=overrides)}


class SkyEyeMultiModalProcessor(BaseMultiModalProcessor[SkyEyeProcessingInfo]):
    """Pixels by our processor. In a prompt -1 stands at each image token, which no text can become; before the engine
    sees them, they are an id that is in every vocabulary and whose embedding is never read there."""

    def get_dummy_inputs(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: MultiModalDummyOptions
    ) -> ProcessorInputs:
        """A prompt of image tokens alone."""
        inputs = super().get_dummy_inputs(seq_len, mm_counts, mm_options)
        inputs.prompt = self._places * mm_counts.get("image", 0)
        return inputs

    @property
    def _places(self) -> list[int]:
        return [IMAGE_TOKEN_ID] * self.info.get_hf_config().tokens_per_image

    def _apply_hf_processor_main(self, mm_items: MultiModalDataItems, hf_kwargs: Mapping[str, object]) -> BatchFeature:
        if "image" not in mm_items:
            return BatchFeature()
        pictures = mm_items.get_items("image", ImageProcessorItems)
        pixels = [self.info.processor.pixels(_picture(picture)) for picture in pictures.get_all()]
        return BatchFeature({"pixel_values": torch.stack(pixels)} if pixels else {})

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {"pixel_values": MultiModalFieldConfig.batched("image")}

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        unknown = self.info.get_tokenizer().unk_token_id
        return [PromptReplacement("image", target=self._places, replacement=[unknown or 0] * len(self._places))]


def _read(picture: Any) -> Any:
    """A picture of a request by our rules; what is no picture is vLLM's to refuse."""
    try:
        if isinstance(picture, MediaWithBytes):
            with as_file(picture.original_bytes) as path:
                return MediaWithBytes(load_image(path), picture.original_bytes, picture.io_config)
        return to_rgb(picture) if isinstance(picture, Image.Image) else picture
    except SkyEyeError as error:
        raise ValueError(error.what) from error


def _picture(picture: Any) -> Image.Image:
    """A picture of vLLM's, which may be an array (height, width, 3)."""
    return picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
