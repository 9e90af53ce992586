"""Candidates as answers to a question, by the loss that the model would have on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from skyeye.data.record import Record, Turn
from skyeye.data.sequence import IGNORE_INDEX, Branch, GroupSequence, SequenceBuilder, collate_rows, pack, separate_rows
from skyeye.errors import SkyEyeError
from skyeye.generation.engine import can_share
from skyeye.models.modeling import Predictions, SkyEyeForConditionalGeneration

#: Tokens of candidates that are computed in one pass.
TOKENS = 4096


@dataclass(frozen=True)
class Ranked:
    """A candidate.

    Attributes:
        index: its place among those that were given.
        mean: its loss for each token, the end of the answer included: natural logarithms.
        sum: minus the log-probability of the whole answer.
        tokens: how many there are.
    """

    text: str
    index: int
    mean: float
    sum: float
    tokens: int


@torch.inference_mode()
def rank(
    model: SkyEyeForConditionalGeneration,
    builder: SequenceBuilder,
    turns: Sequence[Turn],
    n_images: int,
    features: torch.Tensor | None,
    candidates: Sequence[str],
    limit: int | None = None,
) -> list[Ranked]:
    """The candidates by their mean loss, the likeliest first; what they share is computed once.

    Args:
        turns: so far, and the question, whose answer is empty.
        features: (images, tokens_per_image, hidden_size).
        limit: the most tokens that the model reads; None: any number.

    Raises:
        SkyEyeError: there are no candidates, one is empty, or one is too long behind the question.
    """
    if not candidates or not all(candidate.strip() for candidate in candidates):
        raise SkyEyeError("there is no candidate, or an empty one", where="candidates", remedy="give at least one word")
    *prefix, last = builder.prompt(n_images, turns)
    branches = [_branch(builder, turns, n_images, last, candidate) for candidate in candidates]
    longest = len(prefix) + max(len(branch.input_ids) for branch in branches)
    if limit is not None and longest > limit:
        what = f"question and candidate have {longest:,} tokens with the images, the model reads {limit:,}"
        raise SkyEyeError(what, where="candidates", remedy="ask less at once, or give shorter ones")
    losses_of = _packed if can_share(model) else _of_rows
    ranked: list[Ranked] = []
    for part in _parts(branches):
        for own in losses_of(model, GroupSequence((), list(prefix), part), features):
            number = len(ranked)
            ranked.append(Ranked(candidates[number], number, own.mean().item(), own.sum().item(), len(own)))
    return sorted(ranked, key=lambda one: (one.mean, one.index))


def _branch(builder: SequenceBuilder, turns: Sequence[Turn], n_images: int, last: int, candidate: str) -> Branch:
    """What stands behind the prompt: its last token, which predicts the first of the answer, and the answer."""
    question = turns[-1]
    answered = Turn(question.question, candidate.strip(), question.task, question.mentions, question.system)
    *_, answer = (part for part in builder.style.training(n_images, [*turns[:-1], answered]) if part.learnt)
    ids = builder.tokenizer.encode(answer.text, add_special_tokens=False)
    return Branch([last, *ids], [IGNORE_INDEX, *ids], Record("", "", "", "", (), (answered,)))


def _parts(branches: Sequence[Branch]) -> list[list[Branch]]:
    parts: list[list[Branch]] = [[]]
    for branch in branches:
        held = sum(len(other.input_ids) for other in parts[-1])
        if parts[-1] and held + len(branch.input_ids) > TOKENS:
            parts.append([])
        parts[-1].append(branch)
    return parts


def _packed(
    model: SkyEyeForConditionalGeneration, group: GroupSequence, features: torch.Tensor | None
) -> list[torch.Tensor]:
    """The losses of each branch's tokens, all behind one prefix."""
    batch = {name: tensor.to(model.device) for name, tensor in pack([group], pad_token_id=0).items()}
    labels = batch.pop("labels")
    embeddings = model.embed(batch.pop("input_ids"), features)
    predictions = model.predict(embeddings, labels, "supervised", **batch)  # type: ignore[arg-type]  # tensors alone
    return list(_token_losses(predictions, labels).split([len(branch.input_ids) - 1 for branch in group.branches]))


def _of_rows(
    model: SkyEyeForConditionalGeneration, group: GroupSequence, features: torch.Tensor | None
) -> list[torch.Tensor]:
    """The same by whole rows, one at a time."""
    losses = []
    for row in separate_rows([group]):
        batch = {name: tensor.to(model.device) for name, tensor in collate_rows([row], 0).items()}
        labels = batch.pop("labels")
        embeddings = model.embed(batch.pop("input_ids"), features)
        predictions = model.predict(embeddings, labels, "supervised", **batch)  # type: ignore[arg-type]  # as above
        losses.append(_token_losses(predictions, labels))
    return losses


def _token_losses(predictions: Predictions, labels: torch.Tensor) -> torch.Tensor:
    """(N,), the cross entropy of each target, in their order."""
    wanted = labels[labels != IGNORE_INDEX]
    logits = predictions.logits
    assert logits is not None and predictions.places is not None  # of labels that supervise
    if logits.ndim == 3:
        logits = logits.flatten(0, 1).index_select(0, predictions.places)
    return F.cross_entropy(logits.float(), wanted, reduction="none")
