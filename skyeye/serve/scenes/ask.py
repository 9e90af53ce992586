"""A model that is asked about windows: their questions share its picture, and many are answered together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from skyeye.data.files import file_fingerprint
from skyeye.data.images.load import to_rgb
from skyeye.data.record import Turn
from skyeye.generation.answer import open_to_answer
from skyeye.generation.engine import answer_groups
from skyeye.generation.limit import room_for_answer, tokens_read
from skyeye.generation.opening import Opening
from skyeye.generation.requests import PromptGroup, SharedAnswer
from skyeye.generation.sampling import Sampling
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor
from skyeye.serve.read_boxes import lies_outside, read_leniently
from skyeye.serve.scenes.answers import Said

#: Greedy, and how likely each token was.
_TOLD = Sampling(log_probabilities=True)


@dataclass(frozen=True)
class Prepared:
    """A window as the model is given it, and its size in pixels, which some notations of boxes mean."""

    pixels: torch.Tensor
    size: tuple[int, int]


class ModelAnswerer:
    """See :class:`skyeye.serve.scenes.answers.WindowAnswerer`.

    Args:
        model, processor: from the same checkpoint.
        name: changes with the checkpoint and with how it was opened.
        max_new_tokens: longest answer.
        rows: answers in work at the same time.
    """

    def __init__(
        self,
        model: SkyEyeForConditionalGeneration,
        processor: SkyEyeProcessor,
        name: str,
        max_new_tokens: int = 256,
        rows: int = 64,
    ):
        self.model, self.processor, self.max_new_tokens, self.rows = model.eval(), processor, max_new_tokens, rows
        self.name = f"{name} {max_new_tokens}"
        size = processor.image_size
        self.side = size if isinstance(size, int) else max(size)
        self._builder = processor.builder

    def prepare(self, picture: Image.Image) -> Prepared:
        """The pixels of a window in the size that the model takes."""
        return Prepared(self.processor.pixels(to_rgb(picture)), picture.size)

    def answer(self, prepared: Sequence[Prepared], turns: Sequence[Turn]) -> list[list[Said]]:
        """The answers to every turn about every window.

        Raises:
            SkyEyeError: a question is longer than what the model reads.
        """
        prompts = [self._builder.prompt(1, [turn]) for turn in turns]
        rooms = [
            room_for_answer(tokens_read(self.model), ids, self.max_new_tokens, f"--ask {turn.question!r}")
            for ids, turn in zip(prompts, turns, strict=True)
        ]
        together = not self.model.projector.reads_text
        pairs = [[(window, turn) for turn in range(len(turns))] for window in range(len(prepared))]
        groups = pairs if together else [[pair] for each in pairs for pair in each]
        features = self._encode(prepared) if together else self._encode_each(prepared, turns, groups)
        asked = (
            PromptGroup([prompts[n] for _, n in group], seen, [rooms[n] for _, n in group], [_TOLD] * len(group))
            for group, seen in zip(groups, features, strict=True)
        )
        said: dict[tuple[int, int], Said] = {}
        ends = self._builder.end_token_ids
        for one in answer_groups(self.model, asked, rows=self.rows, eos_token_id=ends):
            window, turn = groups[one.group][one.prompt]
            said[window, turn] = self._said(one, prepared[window].size)
        return [[said[pair] for pair in each] for each in pairs]

    def _said(self, answer: SharedAnswer, size: tuple[int, int]) -> Said:
        text = self.processor.decode(answer.ids)
        likely = [math.exp(each) for each in answer.log_probabilities]
        found = [each for each in read_leniently(text, self._builder.style, size) if not lies_outside(each)]
        boxes = tuple((each.label, each.box) for each in found)
        return Said(text, round(sum(likely) / len(likely), 4) if likely else None, boxes)

    def _encode(self, prepared: Sequence[Prepared], question: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """(1, tokens_per_image, hidden_size) of each window, all encoded at once."""
        pixels = torch.stack([each.pixels for each in prepared]).to(self.model.device)
        with torch.no_grad():
            return self.model.encode_images(pixels, question).split(1)

    def _encode_each(
        self, prepared: Sequence[Prepared], turns: Sequence[Turn], groups: Sequence[Sequence[tuple[int, int]]]
    ) -> Iterator[torch.Tensor]:
        """The same for a projector that reads the question: of each window with each turn."""
        for ((window, turn),) in groups:
            asked = self._builder.question_ids([(1, turns[turn])])
            yield from self._encode([prepared[window]], None if asked is None else asked.to(self.model.device))


def open_answerer(checkpoint: str | Path, opening: Opening, max_new_tokens: int = 256) -> ModelAnswerer:
    """The model of a checkpoint, ready to be asked about windows.

    Raises:
        SkyEyeError: as :func:`skyeye.generation.answer.open_to_answer`.
    """
    model, processor = open_to_answer(checkpoint, opening)
    folder = Path(checkpoint)
    content = file_fingerprint(folder, ("*.safetensors", "*.json")) if folder.exists() else str(checkpoint)
    base = file_fingerprint(Path(opening.base)) if isinstance(opening.base, str | Path) else repr(opening.base)
    name = f"{content} {base} {model.language_model.dtype} {opening.keep_adapters} {opening.resize} {opening.dtype}"
    return ModelAnswerer(model, processor, name, max_new_tokens)
