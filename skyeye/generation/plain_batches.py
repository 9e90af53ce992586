"""Answers of models that cannot share prefixes: whole prompts, a batch at a time, by ``generate``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import zip_longest

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from skyeye.data.sequence import collate_prompts
from skyeye.generation.requests import PromptGroup, SharedAnswer, Token
from skyeye.generation.sampling import GREEDY, Choice, Sampling, next_tokens
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.repetition_penalty import RepetitionPenalty

_Prompt = tuple[int, int, PromptGroup]  # number of the group, number of the prompt in it, the group


class PlainGeneration:
    """As :class:`skyeye.generation.engine.SharedGeneration`, for those models.

    A batch runs to the end of its longest answer, so tokens come when their batch has ended, and a cancelled prompt
    gives nothing free before that.
    """

    def __init__(
        self,
        model: SkyEyeForConditionalGeneration,
        rows: int,
        ends: Collection[int],
        penalty: RepetitionPenalty | None = None,
    ):
        self.model, self.rows, self.ends, self.penalty = model, rows, ends, penalty
        self._batch: list[_Prompt] = []
        self._cancelled: set[tuple[int, int]] = set()  # of the batch

    @property
    def in_work(self) -> int:
        """Prompts that have been taken and not answered."""
        return len(self._batch)

    def run(self, groups: Iterable[PromptGroup | None]) -> Iterator[SharedAnswer]:
        """Answer all prompts."""
        return (event for event in self.stream(groups) if isinstance(event, SharedAnswer))

    @torch.inference_mode()
    def stream(self, groups: Iterable[PromptGroup | None]) -> Iterator[Token | SharedAnswer]:
        """The same with every token of an answer before it."""
        number = 0
        for group in groups:
            if group is not None:
                for index in range(len(group.prompts)):
                    self._batch.append((number, index, group))
                    if len(self._batch) == self.rows:
                        yield from self._answers()
                number += 1
            elif self._batch:
                yield from self._answers()
        if self._batch:
            yield from self._answers()

    def cancel(self, group: int, prompt: int) -> None:
        """Nobody waits for an answer any more; see :meth:`skyeye.generation.engine.SharedGeneration.cancel`."""
        self._cancelled.add((group, prompt))

    def _answers(self) -> Iterator[Token | SharedAnswer]:
        for answer in _plain_batch(self.model, self._batch, self.ends, self.penalty):
            place = answer.group, answer.prompt
            for token, log_probability in zip_longest(answer.ids, answer.log_probabilities):
                if place not in self._cancelled:
                    yield Token(*place, token, log_probability)
            if place not in self._cancelled:
                yield answer
        self._batch = []
        self._cancelled.clear()


class _Chosen(LogitsProcessor):
    """Leaves each row the one token that :func:`next_tokens` chooses, so that ``generate`` takes it.

    Attributes:
        log_probabilities: of each row.
    """

    def __init__(self, sampling: Sequence[Sampling], penalty: RepetitionPenalty | None):
        self.sampling, self.penalty = sampling, penalty
        self.seeds = [each.drawn_seed() for each in sampling]
        self.log_probabilities: list[list[float]] = [[] for _ in sampling]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        penalised = scores.float() if self.penalty is None else self.penalty(input_ids, scores.float())
        step = input_ids.shape[1]
        rows = enumerate(zip(self.sampling, self.seeds, strict=True))
        tokens, told = next_tokens(scores, penalised, {row: Choice(each, seed, step) for row, (each, seed) in rows})
        for row, log_probability in told.items():
            self.log_probabilities[row].append(log_probability)
        only = torch.full_like(scores, float("-inf"))
        return only.scatter(1, torch.tensor(tokens, device=scores.device)[:, None], 0.0)


def _plain_batch(
    model: SkyEyeForConditionalGeneration,
    batch: Sequence[_Prompt],
    ends: Collection[int],
    penalty: RepetitionPenalty | None,
) -> list[SharedAnswer]:
    prompts = [group.prompts[index] for _, index, group in batch]
    features = [group.image_features for _, _, group in batch if group.image_features is not None]
    filler = min(ends, default=0)  # never read: prompts are masked there, answers are cut
    inputs = {name: tensor.to(model.device) for name, tensor in collate_prompts(prompts, filler).items()}
    sampling = [group.sampling_of(index) for _, index, group in batch]
    chosen = _Chosen(sampling, penalty) if any(each is not GREEDY for each in sampling) else None
    processors = [each for each in [chosen or penalty] if each is not None]
    output = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        image_features=torch.cat(features) if features else None,
        max_new_tokens=max(group.max_new_tokens[index] for _, index, group in batch),
        logits_processor=LogitsProcessorList(processors),
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(ends) or None,
        pad_token_id=filler,
    ).tolist()
    answers = []
    told_of = chosen.log_probabilities if chosen else [[] for _ in batch]
    for (number, index, group), ids, told in zip(batch, output, told_of, strict=True):
        ids = ids[: group.max_new_tokens[index]]
        stop = next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))
        answers.append(SharedAnswer(number, index, ids[:stop], told[:stop]))
    return answers
