"""Who waits, who is in work, and which prefix lies where in the buffers."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from skyeye.generation.requests import PromptGroup, SharedAnswer
from skyeye.generation.sampling import Choice, Sampling

_END = object()


@dataclass(eq=False)
class Prefix:
    """What prompts have in common.

    Attributes:
        features: of its images, until it is computed.
        unfinished: prompts whose answers are not complete.
        place: in the buffers; -1: not yet there.
    """

    ids: list[int]
    features: torch.Tensor | None
    key: Hashable | None = None
    unfinished: int = 0
    place: int = -1

    @property
    def tokens(self) -> int:
        return len(self.ids)

    def opens(self, prompt: Sequence[int]) -> bool:
        """Whether a prompt begins with it and goes on."""
        return len(prompt) > self.tokens and list(prompt[: self.tokens]) == self.ids


@dataclass(eq=False)
class Row:
    """A prompt in work, or waiting.

    Attributes:
        ids: behind the prefix.
        seed: see :meth:`skyeye.generation.sampling.Sampling.drawn_seed`.
        cancelled: nobody waits for the answer any more.
        stored_tokens: tokens of the prefix that were there when the row entered.
    """

    group: int
    prompt: int
    ids: list[int]
    longest: int
    prefix: Prefix
    sampling: Sampling
    seed: int
    said: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    cancelled: bool = False
    stored_tokens: int = 0

    @property
    def stored(self) -> int:
        """Tokens whose keys are stored, when the last one said has not been read yet."""
        return len(self.ids) + len(self.said) - 1

    @property
    def room(self) -> int:
        return len(self.ids) + self.longest

    @property
    def choice(self) -> Choice:
        return Choice(self.sampling, self.seed, len(self.said))

    def answer(self) -> SharedAnswer:
        """The answer that is complete."""
        return SharedAnswer(self.group, self.prompt, self.said, self.log_probabilities, self.stored_tokens)


class Places:
    """Which prefix lies where. One that no row needs any more stays until its place is needed: others may join it.

    Attributes:
        count: places that have been given out.
    """

    def __init__(self) -> None:
        self.count = 0
        self._free: dict[int, Prefix] = {}  # by place, the longest unused first
        self._by_key: dict[Hashable, Prefix] = {}

    def prefix_of(self, group: PromptGroup) -> Prefix:
        """The prefix of a group: one that is known, or a new one that waits for its place."""
        known = None if group.key is None else self._by_key.get(group.key)
        if known is None or not all(known.opens(prompt) for prompt in group.prompts):
            known = Prefix(list(group.prompts[0][: group.common]), group.image_features, group.key)
            if known.key is not None:
                self._by_key[known.key] = known
        self._free.pop(known.place, None)
        known.unfinished += len(group.prompts)
        return known

    def store(self, prefix: Prefix) -> bool:
        """Give a prefix a place; whether it is new there."""
        if prefix.place >= 0:
            return False
        prefix.place = next(iter(self._free), self.count)
        self.count = max(self.count, prefix.place + 1)
        if before := self._free.pop(prefix.place, None):
            self._forget(before)
        return True

    def leave(self, row: Row) -> None:
        """A row is finished, or given up."""
        prefix = row.prefix
        prefix.unfinished -= 1
        if not prefix.unfinished:
            if prefix.place >= 0:
                self._free[prefix.place] = prefix
            else:
                self._forget(prefix)

    def _forget(self, prefix: Prefix) -> None:
        if self._by_key.get(prefix.key) is prefix:
            del self._by_key[prefix.key]


class WaitingLine:
    """Rows in their order, which enter when there is room.

    Args:
        groups: taken when their first row is looked at, so that their images can be encoded as late. None among them:
            there is nothing now.

    Attributes:
        ended: the groups have come to their end.
    """

    def __init__(self, groups: Iterable[PromptGroup | None], places: Places):
        self._groups, self._places, self._taken = iter(groups), places, 0
        self._rows: deque[Row] = deque()
        self.ended = False

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def first(self) -> Row | None:
        """The row that enters next; None: there is none now."""
        while not self.ended:
            while self._rows and self._rows[0].cancelled:
                self._places.leave(self._rows.popleft())
            if self._rows:
                return self._rows[0]
            group = next(self._groups, _END)
            if group is None:
                return None
            if isinstance(group, PromptGroup):
                self._line_up(group)
            else:
                self.ended = True
        return None

    def take(self) -> Row:
        """The row that :meth:`first` showed."""
        return self._rows.popleft()

    def _line_up(self, group: PromptGroup) -> None:
        number = self._taken
        self._taken += 1
        if not group.prompts:
            return
        prefix = self._places.prefix_of(group)
        for index, (prompt, longest) in enumerate(zip(group.prompts, group.max_new_tokens, strict=True)):
            sampling = group.sampling_of(index)
            own = list(prompt[prefix.tokens :])
            self._rows.append(Row(number, index, own, longest, prefix, sampling, sampling.drawn_seed()))
