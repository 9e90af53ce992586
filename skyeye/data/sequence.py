"""A conversation becomes token ids, here and nowhere else: for training, for evaluation and for chat.

The words around a question are those of a :class:`~skyeye.data.prompts.PromptStyle`; here its segments become ids. In
MiniGPT-v2's style (docs/sequence.md) a training row is ::

    <s> [INST] <Img> image tokens </Img> question  [/INST] answer </s> <s>[INST] question  [/INST] answer </s> ...

Everything asked about the same images opens with the same ids, ``<s> [INST] <Img> image tokens``: the *prefix* of a
group. The rest of each row is a *branch*; prefix + branch is the row, id for id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from skyeye.config.schema import PromptConfig
from skyeye.data.prompts import IMAGE_MARK, Segment, prompt_style
from skyeye.data.questions import QuestionEncoder
from skyeye.data.record import Record, Turn
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IMAGE_TOKEN_ID = -1  # stands where one image token's features go
IGNORE_INDEX = -100  # label of a position that is no target


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


class SequenceBuilder:
    """Builds rows, groups of rows and prompts with one tokenizer and one prompt style.

    Args:
        tokenizer: Hugging Face tokenizer; where it has no beginning-of-sequence token, none is written.
        prompt: style and limits.
        tokens_per_image: image tokens that the model makes of one image.
        questions: for a projector that reads the question; None: it does not.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt: PromptConfig,
        tokens_per_image: int,
        questions: QuestionEncoder | None = None,
    ):
        self.questions = questions
        self.tokenizer = tokenizer
        self.prompt_config = prompt
        self.style = prompt_style(prompt, tokenizer)
        self.tokens_per_image = tokens_per_image
        self._bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        self._openings: dict[tuple[Segment, ...], list[int]] = {}

    @property
    def pad_token_id(self) -> int:
        """Id of the prompt format's pad token: an ordinary word of the vocabulary, used by its id."""
        return pad_token_id(self.tokenizer, self.prompt_config.pad_token)

    @cached_property
    def end_token_ids(self) -> list[int]:
        """Ids that end an answer: the tokenizer's last token, and what the style writes there if that is one token."""
        ids = [] if self.tokenizer.eos_token_id is None else [self.tokenizer.eos_token_id]
        written = [self._encode(end) for end in self.style.ends()]
        return list(dict.fromkeys(ids + [own[0] for own in written if len(own) == 1]))

    def row(self, n_images: int, turns: Sequence[Turn], where: str | None = None) -> Row:
        """The training row of a sample: its prompt, then answers (targets) and further questions (no targets).

        Args:
            where: file and record, for the message of an error.

        Raises:
            SkyEyeError: an answer is empty, the limits leave no target, or an image would be cut.
        """
        return self._row(self._segments(n_images, turns, where), where)

    def group(self, records: Sequence[Record]) -> GroupSequence:
        """The rows of records that show the same images: the prefix once, one branch per record.

        Raises:
            SkyEyeError: as :meth:`row`, naming the record; or the limit leaves nothing of a question, so that an answer
                would follow the prefix directly.
        """
        images = records[0].images
        prefix: list[int] | None = None
        branches = []
        for record in records:
            if record.images != images:
                raise ValueError(f"the records of a group show the same images; {record.id} shows {record.images}")
            where = f"{record.where}, {record.id}" if record.where else record.id
            segments = self._segments(len(images), record.turns, where)
            row = self._row(segments, where)
            if prefix is None:
                prefix = self._prefix(segments) or row.input_ids[:1]
            if row.input_ids[: len(prefix)] != prefix:
                raise ValueError(f"the rows of a group begin alike; that of {record.id} begins otherwise")
            input_ids, labels = row.input_ids[len(prefix) :], row.labels[len(prefix) :]
            if labels[0] != IGNORE_INDEX and self.style.shares_prefix:
                raise SkyEyeError(
                    f"no token of the question stands before the answer"
                    f" (max_context_len {self.prompt_config.max_context_len})",
                    where=where,
                    remedy="raise model.prompt.max_context_len",
                )
            branches.append(Branch(input_ids, labels, record))
        return GroupSequence(images, prefix or [], branches)

    def prompt(self, n_images: int, turns: Sequence[Turn]) -> list[int]:
        """Ids that ask for the answer of the last turn, with ``IMAGE_TOKEN_ID`` at the image tokens.

        Args:
            turns: the conversation so far and the question; the images stand before the first of them. Answers of
                earlier turns are kept. (The reference's chat demo forgets them: give empty answers for its ids.)
        """
        return self._ids(self.style.asking(n_images, turns))

    def written(self, n_images: int, turns: Sequence[Turn]) -> str:
        """What :meth:`prompt` makes ids of, as text: the exact words, :data:`~skyeye.data.prompts.IMAGE_MARK` for each
        image."""
        words = {"image": IMAGE_MARK, "begin": self.tokenizer.bos_token or ""}
        return "".join(words.get(segment.kind, segment.text) for segment in self.style.asking(n_images, turns))

    def question_ids(self, shown: Iterable[tuple[int, Turn]]) -> torch.Tensor | None:
        """(images, L) ids of the question that each image is shown with, padded with -1; None: nothing reads them.

        Args:
            shown: for each conversation its number of images and its first turn.
        """
        if self.questions is None:
            return None
        asked = [self.style.question(turn) for n_images, turn in shown for _ in range(n_images)]
        return self.questions(asked) if asked else None

    def _segments(self, n_images: int, turns: Sequence[Turn], where: str | None) -> list[Segment]:
        if not turns:
            raise SkyEyeError("the sample has no turns", where=where, remedy="give it a question and an answer")
        for number, turn in enumerate(turns, start=1):
            if not turn.answer.strip():
                raise SkyEyeError(f"the answer of turn {number} is empty", where=where, remedy="remove or complete it")
        try:
            return self.style.training(n_images, turns)
        except SkyEyeError as error:
            raise SkyEyeError(error.what, where=where or error.where, remedy=error.remedy) from error

    def _row(self, segments: Sequence[Segment], where: str | None) -> Row:
        limit = self.prompt_config.max_context_len
        first = next(number for number, segment in enumerate(segments) if segment.learnt)
        behind_images = _through_images(segments)
        prompt = self._opening(segments) + self._ids(segments[behind_images:first])
        begin = self._begin(segments)
        if not self.prompt_config.cut_images and IMAGE_TOKEN_ID in prompt[begin + limit :]:
            raise SkyEyeError(
                f"max_context_len {limit} would cut into the images of a prompt of {len(prompt) - begin} tokens",
                where=where,
                remedy="raise model.prompt.max_context_len or show fewer images",
            )
        tail, tail_labels = self._tail(segments[first:])
        head = prompt[: begin + limit]
        labels = [IGNORE_INDEX] * len(head) + tail_labels
        if all(label == IGNORE_INDEX for label in labels):
            raise SkyEyeError(
                f"max_txt_len {self.prompt_config.max_txt_len} leaves no token of an answer to learn from",
                where=where,
                remedy="raise model.prompt.max_txt_len",
            )
        return Row(head + tail, labels)

    def _prefix(self, segments: Sequence[Segment]) -> list[int]:
        """What the rows of a group share: everything through the last image, as far as the limit lets it."""
        return self._opening(segments)[: self._begin(segments) + self.prompt_config.max_context_len]

    def _begin(self, segments: Sequence[Segment]) -> int:
        """Tokens at the beginning that do not count for the limit."""
        return len(self._bos) if segments[0].kind == "begin" else 0

    def _opening(self, segments: Sequence[Segment]) -> list[int]:
        """Ids through the last image. They are the same for everything asked about as many images, and kept."""
        opening = tuple(segments[: _through_images(segments)])
        if opening not in self._openings:
            self._openings[opening] = self._ids(opening)
        return self._openings[opening]

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _ids(self, segments: Iterable[Segment]) -> list[int]:
        ids: list[int] = []
        for segment in segments:
            if segment.kind == "image":
                ids += [IMAGE_TOKEN_ID] * self.tokens_per_image
            else:
                ids += self._bos if segment.kind == "begin" else self._encode(segment.text)
        return ids

    def _tail(self, segments: Sequence[Segment]) -> tuple[list[int], list[int]]:
        """Ids and labels of everything behind the first prompt, cut to ``max_txt_len``."""
        ids: list[int] = []
        labels: list[int] = []
        for segment in segments:
            own = self._ids([segment])
            ids += own
            labels += own if segment.learnt else [IGNORE_INDEX] * len(own)
        limit = self.prompt_config.max_txt_len
        return ids[:limit], labels[:limit]


def _through_images(segments: Sequence[Segment]) -> int:
    """How many segments there are through the last image; without images, the beginning alone."""
    places = [number for number, segment in enumerate(segments) if segment.kind == "image"]
    if places:
        return places[-1] + 1
    return 1 if segments[0].kind == "begin" else 0


def pack(groups: Sequence[GroupSequence], pad_token_id: int, multiple: int = 1) -> dict[str, torch.Tensor]:
    """Groups one behind the other in a single row: prefix, branches, next prefix, ...

    Args:
        multiple: the row is padded on the right to a multiple of this.

    Returns:
        ``input_ids``, ``labels``, ``position_ids``, ``group_ids`` and ``branch_ids``, each int64 (1, T). Positions of a
        branch continue from its prefix. ``group_ids`` count from 0, -1 in padding; ``branch_ids`` are 0 in a prefix,
        k >= 1 in the k-th branch of a group, -1 in padding.
    """
    input_ids: list[int] = []
    labels: list[int] = []
    position_ids: list[int] = []
    group_ids: list[int] = []
    branch_ids: list[int] = []
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


def pad_token_id(tokenizer: PreTrainedTokenizerBase, pad_token: str | None) -> int:
    """Id of ``pad_token``, which need not be a special token: MiniGPT-v2 pads with the word ``$$``.

    Args:
        pad_token: None: the tokenizer's own, else its last token.

    Raises:
        SkyEyeError: the vocabulary does not have it.
    """
    pad_token = pad_token or tokenizer.pad_token or tokenizer.eos_token
    token_id: Any = tokenizer.convert_tokens_to_ids(pad_token)  # None where a vocabulary has no unknown token
    if token_id is None or (token_id == tokenizer.unk_token_id and pad_token != tokenizer.unk_token):
        raise SkyEyeError(
            f"the tokenizer's vocabulary has no pad token {pad_token!r}",
            where="model.prompt.pad_token",
            remedy="name a token of the vocabulary that no text uses",
        )
    return int(token_id)


def _pad_right(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    length = max(map(len, rows))
    return torch.tensor([list(row) + [value] * (length - len(row)) for row in rows])
