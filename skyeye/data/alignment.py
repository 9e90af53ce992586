"""Targets of the word-region alignment, by which a model that starts from nothing learns what EVA-CLIP and LLaMA bring.

Known objects of an image (:class:`~skyeye.data.record.Region`) say of every image token what it shows and how far the
object reaches, and of the word in a question that names an object where this object is. See docs/training.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from skyeye.data.geometry.boxes import Box
from skyeye.data.record import MARK, Group, Record
from skyeye.data.sequence import IGNORE_INDEX, GroupSequence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def region_targets(
    group: Group, tokenizer: PreTrainedTokenizerBase, grid: tuple[int, int], max_words: int = 4
) -> tuple[torch.Tensor, torch.Tensor]:
    """What each image token of a group shows: the words for it, and the box of the object it lies in.

    A token belongs to the smallest region whose box contains the centre of its cell; of equally small ones the later.
    A region that covers the whole image is ground: it has words and no box.

    Args:
        grid: (rows, columns) of the image tokens.
        max_words: ids per token at most (K); longer phrases are cut.

    Returns:
        Word ids (image tokens of the group, K) and boxes (image tokens, 4) as integers 0..100, both int64 and filled up
        with ``IGNORE_INDEX``. Nothing else where there is no region, and for a group that shows several images (its
        regions do not say which).
    """
    rows, columns = grid
    words = torch.full((len(group.images) * rows * columns, max_words), IGNORE_INDEX)
    boxes = torch.full((len(group.images) * rows * columns, 4), IGNORE_INDEX)
    if len(group.images) != 1:
        return words, boxes
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    x, y = x.flatten(), y.flatten()
    regions = dict.fromkeys(region for record in group.records for region in record.regions)
    # drawn from the largest to the smallest; the sort is stable, so of equal areas the later is drawn last
    for region in sorted(regions, key=lambda region: -Box(*region.box).area):
        x1, y1, x2, y2 = region.box
        inside = (x1 <= x) & (x <= x2) & (y1 <= y) & (y <= y2)
        ids = tokenizer.encode(region.phrase, add_special_tokens=False)[:max_words]
        words[inside] = torch.tensor(ids + [IGNORE_INDEX] * (max_words - len(ids)))
        boxes[inside] = IGNORE_INDEX if region.box == (0.0, 0.0, 1.0, 1.0) else _percent(region.box)
    return words, boxes


def phrase_boxes(sequences: Sequence[GroupSequence], tokenizer: PreTrainedTokenizerBase, length: int) -> torch.Tensor:
    """Where a question names an object: the object's box, at every word of its name.

    Every word, because each can find what fits it in one step (the red things, the ships), and an answer that looks at
    all of them finds what fits them all. With the last word alone, objects of one kind are not told apart by colour.

    Used are ``refer`` questions whose answer is one box of a known region, and ``vqa`` questions of type ``presence``:
    with the answer "no" the box is (0, 0, 0, 0), nowhere; with "yes" it is that of the one region that fits the name.

    Args:
        sequences: the groups of a pack, in order.
        length: tokens of the pack (T).

    Returns:
        int64 (1, T, 4), integers 0..100; ``IGNORE_INDEX`` elsewhere.
    """
    targets = torch.full((1, length, 4), IGNORE_INDEX)
    start = 0
    for sequence in sequences:
        start += len(sequence.prefix_ids)
        for branch in sequence.branches:
            named = _named(branch.record)
            if named is not None:
                name, box = named
                spelt = set(tokenizer.encode(name, add_special_tokens=False))
                question = [i for i, label in enumerate(branch.labels) if label == IGNORE_INDEX]
                for place in question:
                    if branch.input_ids[place] in spelt:
                        targets[0, start + place] = _percent(box)
            start += len(branch.input_ids)
    return targets


def _named(record: Record) -> tuple[str, Sequence[float]] | None:
    """The name of the object that a question is about, as far as the question says it, and the box of the object."""
    turn = record.turns[0]
    answered = [box for mention in turn.answer_mentions for box in mention.boxes]
    if record.task == "refer" and len(answered) == 1:
        alone, place = turn.answer.strip() == MARK, _percent(answered[0]).tolist()
        found = [region for region in record.regions if alone and _percent(region.box).tolist() == place]
        return (found[0].phrase, found[0].box) if found else None
    # Without regions "no" would say nothing about the picture: most sets know the answer and not the objects.
    if record.task == "vqa" and record.regions and record.references.get("type") == "presence":
        words = turn.question.rstrip(" ?").split()
        if not words:
            return None
        if turn.answer == "no":
            return words[-1], (0.0, 0.0, 0.0, 0.0)
        whole = [region for region in record.regions if set(region.phrase.split()) <= set(words)]
        fitting = whole or [region for region in record.regions if region.phrase.split()[-1] == words[-1]]
        return (words[-1], fitting[0].box) if len(fitting) == 1 else None
    return None


def _percent(box: Iterable[float]) -> torch.Tensor:
    return torch.tensor([min(max(int(value * 100), 0), 100) for value in box])
