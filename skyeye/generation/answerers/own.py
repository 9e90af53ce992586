"""A model of this project as an answerer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from skyeye.data.prompts import MiniGPTv2, PromptStyle
from skyeye.data.record import Record
from skyeye.generation.answer import answers_as_ready
from skyeye.generation.answerers.base import Reply, greedy_words
from skyeye.generation.embed import embeddings_as_ready
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.two_towers import TwoTowers, TwoTowersProcessor


class OwnAnswerer:
    """A model of this project, in evaluation mode on the device to use.

    Args:
        batch_size: questions decoded together; changes speed, not answers.
    """

    def __init__(self, model: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor, batch_size: int = 32):
        self.model, self.processor, self.batch_size = model, processor, batch_size

    @property
    def style(self) -> PromptStyle:
        """In whose words it is asked."""
        return self.processor.builder.style

    @property
    def about(self) -> dict[str, Any]:
        return {
            "parameters": self.model.num_parameters(),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.model.device),
            "prompt_layout": self.processor.builder.prompt_config.evaluation_layout,
            "adapters_beside": self.model.config.lora is not None,
        }

    def decoding(self, max_new_tokens: int) -> str:
        return greedy_words(max_new_tokens)

    def answers(self, records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Reply]]:
        if max_new_tokens == 0:
            return _vectors(self.model, self.processor, records, self.batch_size)
        how = {"batch_size": self.batch_size, "max_new_tokens": max_new_tokens}
        return answers_as_ready(self.model, self.processor, records, **how)


class TowersAnswerer:
    """Two towers, in evaluation mode on the device to use: they answer with vectors, and with nothing else.

    Args:
        batch_size: pictures or texts at once; changes speed, not answers.
    """

    def __init__(self, model: TwoTowers, processor: TwoTowersProcessor, batch_size: int = 32):
        self.model, self.processor, self.batch_size = model, processor, batch_size

    #: They are asked nothing in words; questions are shown in those of the paper.
    style: PromptStyle = MiniGPTv2()

    @property
    def about(self) -> dict[str, Any]:
        return {
            "parameters": self.model.num_parameters(),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.model.device),
            "prompt_layout": "none",
            "adapters_beside": self.model.adapter is not None,
        }

    def decoding(self, max_new_tokens: int) -> str:
        return "none"

    def answers(self, records: Sequence[Record], max_new_tokens: int) -> Iterator[tuple[int, Reply]]:
        return _vectors(self.model, self.processor, records, self.batch_size)


def own_answerer(
    model: SkyEyeForConditionalGeneration | TwoTowers,
    processor: SkyEyeProcessor | TwoTowersProcessor,
    batch_size: int = 32,
) -> OwnAnswerer | TowersAnswerer:
    """A model of this project, whichever it is."""
    if isinstance(model, TwoTowers):
        return TowersAnswerer(model, cast(TwoTowersProcessor, processor), batch_size)
    return OwnAnswerer(model, cast(SkyEyeProcessor, processor), batch_size)


def _vectors(model: Any, processor: Any, records: Sequence[Record], batch_size: int) -> Iterator[tuple[int, Reply]]:
    vectors = embeddings_as_ready(model, processor, records, batch_size)
    return ((index, Reply("", embedding=vector)) for index, vector in vectors)
