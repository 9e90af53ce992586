"""Configuration of a skyeye model, in Hugging Face shape."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from skyeye.config.schema import ModelConfig, VisionConfig
from skyeye.models.projectors import PROJECTORS, projector_settings
from skyeye.models.vision import VisionShape, vision_shape
from skyeye.models.vision.pixels import pixel_shape


@strict
class SkyEyeConfig(PreTrainedConfig):
    """The parts of a model and how they are joined.

    Args:
        vision: fields of :class:`skyeye.config.schema.VisionConfig`, or a list of them for several towers; what is
            missing is EVA-CLIP-g at 448 px.
        vision_norm: whether the vision tokens, all levels and towers together, pass a layer norm that is never trained
            (the reference's ``ln_vision``) before the projector.
        projector: fields of the section of its ``type``, see :mod:`skyeye.models.projectors`.
        text_config: configuration of the language model, any causal one that transformers knows.
        retrieval: fields of :class:`skyeye.config.schema.RetrievalConfig`; None: the model compares no captions.
        lora: fields of :class:`skyeye.config.schema.LoraConfig`; None builds no adapters.
        quantized: ``int8`` or ``int4`` where the linear layers of the language model are held so, to be asked.
        image_token_id: stands in ``input_ids`` where an image token belongs. Not a word of the vocabulary.
    """

    model_type = "skyeye"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": AutoConfig}

    vision: dict[str, Any] | list[dict[str, Any]] | None = None
    vision_norm: bool = True
    projector: dict[str, Any] | None = None
    text_config: dict | PreTrainedConfig | None = None
    lora: dict[str, Any] | None = None
    quantized: Literal["int8", "int4"] | None = None
    retrieval: dict[str, Any] | None = None
    image_token_id: int = -1

    def __post_init__(self, **kwargs):
        several = isinstance(self.vision, list)
        towers = [asdict(VisionConfig(**fields)) for fields in (self.vision if several else [self.vision or {}])]
        self.vision = towers if several else towers[0]
        self.projector = asdict(projector_settings(self.projector))
        if not isinstance(self.text_config, PreTrainedConfig):
            fields = dict(self.text_config or {})
            self.text_config = CONFIG_MAPPING[fields.pop("model_type", "llama")](**fields)
        attention = getattr(self.text_config, "_attn_implementation", None)
        super().__post_init__(**kwargs)
        self.text_config._attn_implementation = attention  # the line above clears what was chosen for this part

    @classmethod
    def of(cls, model: ModelConfig, **parts: Any) -> SkyEyeConfig:
        """That of a recipe's model section; ``text_config`` and ``lora`` are what ``parts`` give.

        A saved model carries its weights: the paths they came from mean nothing elsewhere and are left out.
        """
        vision = vision_fields(model.vision)
        for tower in vision if isinstance(vision, list) else [vision]:
            tower["weights"] = None
        projector = {name: value for name, value in asdict(model.projector).items() if name != "vocabulary"}
        if model.retrieval is not None:
            parts["retrieval"] = asdict(model.retrieval)
        return cls(vision=vision, vision_norm=model.vision_norm, projector=projector, **parts)

    @property
    def towers(self) -> list[dict[str, Any]]:
        """The fields of each tower."""
        return self.vision if isinstance(self.vision, list) else [self.vision]

    @property
    def pixel_shape(self) -> tuple[int, ...]:
        """Shape of the pixels of one image, see :mod:`skyeye.models.vision.pixels`."""
        several = isinstance(self.vision, list)
        return pixel_shape([tower["image_size"] for tower in self.vision] if several else self.vision["image_size"])

    @property
    def vision_shape(self) -> VisionShape:
        """Tokens per image before the projector, prefix tokens, and the widths of their levels."""
        return vision_shape(self.vision)

    @property
    def tokens_per_image(self) -> int:
        """Places an image takes in ``input_ids``: what the projector makes of the vision tokens."""
        return self._projector.tokens_per_image(projector_settings(self.projector), self.vision_shape.grid)

    @property
    def token_grid(self) -> tuple[int, int]:
        """(rows, columns) in which the image tokens lie over the picture.

        Raises:
            SkyEyeError: they form no grid.
        """
        return self._projector.token_grid(projector_settings(self.projector), self.vision_shape.grid)

    @property
    def _projector(self):
        return PROJECTORS[self.projector["type"]]


def vision_fields(vision: VisionConfig | list[VisionConfig]) -> dict[str, Any] | list[dict[str, Any]]:
    """``model.vision`` of a recipe as plain values."""
    return [asdict(tower) for tower in vision] if isinstance(vision, list) else asdict(vision)


AutoConfig.register(SkyEyeConfig.model_type, SkyEyeConfig)
