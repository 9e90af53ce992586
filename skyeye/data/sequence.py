"""A conversation becomes token ids, here and nowhere else: for training, for evaluation and for chat.

The layout is MiniGPT-v2's (docs/sequence.md). A training row is ::

    <s> [INST] <Img> image tokens </Img> question  [/INST] answer </s> <s>[INST] question  [/INST] answer </s> ...

Everything asked about the same images opens with the same ids, ``<s> [INST] <Img> image tokens``: the *prefix* of a
group. The rest of each row is a *branch*; prefix + branch is the row, id for id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from skyeye.config.schema import PromptConfig
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IMAGE_TOKEN_ID = -1  # stands where one image token's features go
IGNORE_INDEX = -100  # label of a position that is no target

_IMAGE = "<ImageHere>"  # in text; every segment around it is tokenised on its own
_IMAGE_MARKUP = f"<Img>{_IMAGE}</Img>"


@dataclass(frozen=True)
class Row:
    """Token ids of one sample; labels at the same places (not shifted), ``IGNORE_INDEX`` where nothing is learnt."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Branch:
    """What follows the prefix in the row of one record."""

    input_ids: list[int]
    labels: list[int]
    record: Record


@dataclass(frozen=True)
class GroupSequence:
    """The rows of one group, their common beginning stored once."""

    images: tuple[str, ...]
    prefix_ids: list[int]
    branches: list[Branch]

    def __len__(self) -> int:
        """Tokens of the group: its prefix once, and all branches."""
        return len(self.prefix_ids) + sum(len(branch.input_ids) for branch in self.branches)


def image_instruction(question: str, n_images: int, end: str = " ") -> str:
    """The instruction of a sample before the chat template: images, question, and the space that training puts behind.

    A question without images stays bare, as in the reference.
    """
    return f"{_IMAGE_MARKUP * n_images} {question}{end}" if n_images else question


class SequenceBuilder:
    """Builds rows, groups of rows and prompts with one tokenizer and one prompt format.

    Args:
        tokenizer: Hugging Face tokenizer; where it has no beginning-of-sequence token, none is written.
        prompt: template, end symbol and limits.
        tokens_per_image: image tokens that the model makes of one image.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt: PromptConfig,
        tokens_per_image: int,
    ):
        self.tokenizer = tokenizer
        self.prompt_config = prompt
        self.tokens_per_image = tokens_per_image
        self._bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]

    @property
    def pad_token_id(self) -> int:
        """Id of the prompt format's pad token: an ordinary word of the vocabulary, used by its id."""
        return pad_token_id(self.tokenizer, self.prompt_config.pad_token)

    def row(self, n_images: int, turns: Sequence[Turn], where: str | None = None) -> Row:
        """The training row of a sample: its prompt, then answers (targets) and further questions (no targets).

        Args:
            where: file and record, for the message of an error.

        Raises:
            SkyEyeError: an answer is empty, the limits leave no target, or an image would be cut.
        """
        return self._row(self._through_images(n_images), n_images, turns, where)

    def group(self, records: Sequence[Record]) -> GroupSequence:
        """The rows of records that show the same images: the prefix once, one branch per record.

        Raises:
            SkyEyeError: as :meth:`row`, naming the record; or the limit leaves nothing of a question, so that an answer
                would follow the prefix directly.
        """
        images = records[0].images
        limit = self.prompt_config.max_context_len
        through_images = self._through_images(len(images))
        prefix = self._bos + through_images[:limit]
        branches = []
        for record in records:
            if record.images != images:
                raise ValueError(f"the records of a group show the same images; {record.id} shows {record.images}")
            where = f"{record.where}, {record.id}" if record.where else record.id
            row = self._row(through_images, len(images), record.turns, where)
            input_ids, labels = row.input_ids[len(prefix) :], row.labels[len(prefix) :]
            if labels[0] != IGNORE_INDEX:
                raise SkyEyeError(
                    f"no token of the question stands before the answer (max_context_len {limit})",
                    where=where,
                    remedy="raise model.prompt.max_context_len",
                )
            branches.append(Branch(input_ids, labels, record))
        return GroupSequence(images, prefix, branches)

    def prompt(self, n_images: int, question: str, history: Sequence[Turn] = ()) -> list[int]:
        """Ids that ask for an answer, with ``IMAGE_TOKEN_ID`` at the image tokens.

        Args:
            history: the turns so far; the images stand before the first of them. Its answers are kept. (The
                reference's chat demo forgets them: give empty answers for its ids.)
        """
        as_trained = self.prompt_config.evaluation_layout == "training"
        space = " " if as_trained else ""
        questions = [turn.question for turn in history] + [question]
        ids = self._bos if as_trained else self._bos * 2
        ids = ids + self._through_images(n_images) + self._after_images(n_images, questions[0], space, None)
        for turn, following in zip(history, questions[1:], strict=True):
            ids += self._answer(turn.answer) + self._later_question(following, space)
        return ids

    def _row(self, through_images: list[int], n_images: int, turns: Sequence[Turn], where: str | None) -> Row:
        if not turns:
            raise SkyEyeError("the sample has no turns", where=where, remedy="give it a question and an answer")
        for number, turn in enumerate(turns, start=1):
            if not turn.answer.strip():
                raise SkyEyeError(f"the answer of turn {number} is empty", where=where, remedy="remove or complete it")

        limit = self.prompt_config.max_context_len
        prompt = through_images + self._after_images(n_images, turns[0].question, " ", where)
        if not self.prompt_config.cut_images and IMAGE_TOKEN_ID in prompt[limit:]:
            raise SkyEyeError(
                f"max_context_len {limit} would cut into the images of a prompt of {len(prompt)} tokens",
                where=where,
                remedy="raise model.prompt.max_context_len or show fewer images",
            )
        tail, tail_labels = self._tail(turns)
        head = self._bos + prompt[:limit]
        labels = [IGNORE_INDEX] * len(head) + tail_labels
        if all(label == IGNORE_INDEX for label in labels):
            raise SkyEyeError(
                f"max_txt_len {self.prompt_config.max_txt_len} leaves no token of an answer to learn from",
                where=where,
                remedy="raise model.prompt.max_txt_len",
            )
        return Row(head + tail, labels)

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _segments(self, instruction: str) -> list[str]:
        return self.prompt_config.template.replace("{}", instruction).split(_IMAGE)

    def _through_images(self, n_images: int) -> list[int]:
        """The prompt up to its last image token, without ``<s>``; nothing when there is no image."""
        ids: list[int] = []
        for segment in self._segments(image_instruction("", n_images))[:-1]:
            ids += self._encode(segment) + [IMAGE_TOKEN_ID] * self.tokens_per_image
        return ids

    def _after_images(self, n_images: int, question: str, end: str, where: str | None) -> list[int]:
        segments = self._segments(image_instruction(question, n_images, end))
        if len(segments) != n_images + 1:
            raise SkyEyeError(f"the question contains {_IMAGE}", where=where, remedy="take it out of the text")
        return self._encode(segments[-1])

    def _later_question(self, question: str, end: str) -> list[int]:
        return self._bos + self._encode(self.prompt_config.template.replace("{}", question + end))

    def _answer(self, answer: str) -> list[int]:
        return self._encode(answer + self.prompt_config.end_symbol)

    def _tail(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """Ids and labels of everything behind the first prompt, cut to ``max_txt_len``."""
        ids = self._answer(turns[0].answer)
        labels = list(ids)
        for turn in turns[1:]:
            question, answer = self._later_question(turn.question, " "), self._answer(turn.answer)
            ids += question + answer
            labels += [IGNORE_INDEX] * len(question) + answer
        limit = self.prompt_config.max_txt_len
        return ids[:limit], labels[:limit]


def pack(groups: Sequence[GroupSequence], pad_token_id: int, multiple: int = 1) -> dict[str, torch.Tensor]:
    """Groups one behind the other in a single row: prefix, branches, next prefix, ...

    Args:
        multiple: the row is padded on the right to a multiple of this.

    Returns:
        ``input_ids``, ``labels``, ``position_ids``, ``group_ids`` and ``branch_ids``, each int64 (1, T). Positions of a
        branch continue from its prefix. ``group_ids`` count from 0, -1 in padding; ``branch_ids`` are 0 in a prefix,
        k >= 1 in the k-th branch of a group, -1 in padding.
    """
    input_ids, labels, position_ids, group_ids, branch_ids = ([] for _ in range(5))
    for number, group in enumerate(groups):
        start = len(group.prefix_ids)
        parts = [(group.prefix_ids, [IGNORE_INDEX] * start, 0)]
        parts += [(branch.input_ids, branch.labels, start) for branch in group.branches]
        for branch, (ids, targets, first) in enumerate(parts):
            input_ids += ids
            labels += targets
            position_ids += range(first, first + len(ids))
            group_ids += [number] * len(ids)
            branch_ids += [branch] * len(ids)
    columns = {
        "input_ids": (input_ids, pad_token_id),
        "labels": (labels, IGNORE_INDEX),
        "position_ids": (position_ids, 0),
        "group_ids": (group_ids, -1),
        "branch_ids": (branch_ids, -1),
    }
    padding = -len(input_ids) % multiple
    return {name: torch.tensor([values + [filler] * padding]) for name, (values, filler) in columns.items()}


def separate_rows(groups: Sequence[GroupSequence]) -> list[Row]:
    """Each branch behind a copy of its prefix: the rows that :func:`pack` is equal to."""
    return [
        Row(group.prefix_ids + branch.input_ids, [IGNORE_INDEX] * len(group.prefix_ids) + branch.labels)
        for group in groups
        for branch in group.branches
    ]


def collate_rows(rows: Sequence[Row], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Rows as they are, padded on the right: ``input_ids``, ``labels`` and ``attention_mask``, each int64 (B, T)."""
    return {
        "input_ids": _pad_right([row.input_ids for row in rows], pad_token_id),
        "labels": _pad_right([row.labels for row in rows], IGNORE_INDEX),
        "attention_mask": _pad_right([[1] * len(row.input_ids) for row in rows], 0),
    }


def collate_prompts(prompts: Sequence[Sequence[int]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Prompts padded on the left, for generation: ``input_ids`` and ``attention_mask``, each int64 (B, T)."""
    length = max(map(len, prompts))
    ids = [[pad_token_id] * (length - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def pad_token_id(tokenizer: PreTrainedTokenizerBase, pad_token: str) -> int:
    """Id of ``pad_token``, which need not be a special token: MiniGPT-v2 pads with the word ``$$``.

    Raises:
        SkyEyeError: the vocabulary does not have it.
    """
    token_id = tokenizer.convert_tokens_to_ids(pad_token)
    if token_id is None or (token_id == tokenizer.unk_token_id and pad_token != tokenizer.unk_token):
        raise SkyEyeError(
            f"the tokenizer's vocabulary has no pad token {pad_token!r}",
            where="model.prompt.pad_token",
            remedy="name a token of the vocabulary that no text uses",
        )
    return token_id


def _pad_right(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    length = max(map(len, rows))
    return torch.tensor([list(row) + [value] * (length - len(row)) for row in rows])
