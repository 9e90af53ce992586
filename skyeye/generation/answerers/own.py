"""A model of this project as an answerer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from skyeye.data.record import Record
from skyeye.generation.answer import answers_as_ready
from skyeye.generation.answerers.base import Reply, greedy_words
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor


class OwnAnswerer:
    """A model of this project, in evaluation mode on the device to use.

    Args:
        batch_size: questions decoded together; changes speed, not answers.
    """

    def __init__(self, model: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor, batch_size: int = 32):
        self.model, self.processor, self.batch_size = model, processor, batch_size

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
        cut: set[int] = set()
        ready = answers_as_ready(
            self.model,
            self.processor,
            records,
            batch_size=self.batch_size,
            max_new_tokens=max_new_tokens,
            cut=cut,
        )
        return ((index, Reply(text, cut=index in cut)) for index, text in ready)
