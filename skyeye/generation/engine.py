"""Answers to many questions about few images: an image and its prefix are computed once, not once a question.

The prompts of a group share their first tokens, image tokens included. These are computed once and their keys and
values kept once; the rest of every prompt, and its answer, is a *row* that looks at them
(:mod:`skyeye.generation.prefix_cache`). A row that has ended leaves at once and a waiting one enters in the same
forward pass that continues the others, also one about another image: a batch stays full whatever the lengths of its
answers. The token of a row is the likeliest, or drawn by numbers of its own (:mod:`skyeye.generation.sampling`).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence

import torch

from skyeye.data.sequence import IMAGE_TOKEN_ID
from skyeye.errors import SkyEyeError
from skyeye.generation.buffer_sizes import grown, static_size
from skyeye.generation.passes import line_logits, mixed_logits, static_logits
from skyeye.generation.plain_batches import PlainGeneration
from skyeye.generation.prefix_cache import Entering, ForwardLayout
from skyeye.generation.requests import PromptGroup, SharedAnswer, Token
from skyeye.generation.sampling import GREEDY, next_tokens
from skyeye.generation.schedule import Places, Prefix, Row, WaitingLine
from skyeye.generation.stored_keys import Capacity, SharedKeys
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.prefix_attention import NAME
from skyeye.models.repetition_penalty import RepetitionPenalty

#: Tokens of prompts that enter in one forward pass; a larger prefix enters alone. More would only take memory.
ENTERING_TOKENS = 4096


def answer_groups(
    model: SkyEyeForConditionalGeneration,
    groups: Iterable[PromptGroup],
    *,
    rows: int,
    eos_token_id: int | Sequence[int] | None,
    repetition_penalty: float = 1.0,
    static: bool | None = None,
) -> Iterator[SharedAnswer]:
    """Answer all prompts; answers come in the order in which they end.

    Where no sampling is asked, the token ids are those of a greedy ``model.generate`` for each prompt alone, up to the
    rounding of half precision. A language model whose attention cannot be told about shared prefixes answers in plain
    batches.

    Args:
        model: in evaluation mode.
        groups: taken when there is room for their rows, so their images can be encoded as late.
        rows: rows in work at the same time; memory grows with them.
        eos_token_id: ids that end an answer; None: only its longest length does.
        repetition_penalty: see :class:`~skyeye.models.repetition_penalty.RepetitionPenalty`.
        static: decode by operations of fixed shapes, compiled on CUDA; None: on CUDA only.
    """
    events = stream_groups(
        model, groups, rows=rows, eos_token_id=eos_token_id, repetition_penalty=repetition_penalty, static=static
    )
    return (event for event in events if isinstance(event, SharedAnswer))


def stream_groups(
    model: SkyEyeForConditionalGeneration,
    groups: Iterable[PromptGroup],
    *,
    rows: int,
    eos_token_id: int | Sequence[int] | None,
    repetition_penalty: float = 1.0,
    static: bool | None = None,
) -> Iterator[Token | SharedAnswer]:
    """As :func:`answer_groups`, with every token as it comes; in plain batches, when the batch has ended."""
    ends = {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id or ())
    penalty = None
    if repetition_penalty != 1.0:
        penalty = RepetitionPenalty(repetition_penalty, model.generation_config.bos_token_id)
    asks_nothing, groups = _asks_nothing(groups)
    generation: SharedGeneration | PlainGeneration
    if asks_nothing or not can_share(model):
        generation = PlainGeneration(model, rows, ends, penalty)
    else:
        generation = SharedGeneration(model, rows, ends, penalty, static)
    yield from generation.stream(groups)


def _asks_nothing(groups: Iterable[PromptGroup]) -> tuple[bool, Iterator[PromptGroup]]:
    """Whether the prompts end with an image, as in the style ``plain``, so that no row is left behind what they share;
    and the groups, of which those up to the first prompt were taken."""
    groups, ahead = iter(groups), []
    for group in groups:
        ahead.append(group)
        if group.prompts:
            break
    asks_nothing = any(group.prompts[0][-1] == IMAGE_TOKEN_ID for group in ahead if group.prompts)
    return asks_nothing, itertools.chain(ahead, groups)


@torch.inference_mode()
def can_share(model: SkyEyeForConditionalGeneration) -> bool:
    """Whether every layer of the language model lets a step attend. One token is computed to see it.

    Where the projector reads the question there is nothing to share.
    """
    if model.projector.reads_text or model.language_model.config._attn_implementation != NAME:
        return False
    keys = SharedKeys()
    keys.reserve(Capacity(1, 0, 1, 1))
    step = ForwardLayout(keys, [], [], [Entering(0, 0, True, [1])], model.device)
    try:
        line_logits(model, torch.zeros(1, 1, dtype=torch.long, device=model.device), None, [0], step)
    except SkyEyeError:  # it limits its attention: see prefix_attention
        return False
    return len(step.layers) == model.language_model.config.num_hidden_layers


class SharedGeneration:
    """The state of :func:`answer_groups`; see there for the arguments.

    Attributes:
        keys: the buffers. Their size is what generation takes beside the model and the activations of a pass.
        peak: most tokens that were stored at the same time, prefixes and rows.
    """

    def __init__(
        self,
        model: SkyEyeForConditionalGeneration,
        rows: int,
        ends: Collection[int],
        penalty: RepetitionPenalty | None = None,
        static: bool | None = None,
    ):
        self.model, self.rows, self.ends, self.penalty = model, rows, ends, penalty
        self.static = model.device.type == "cuda" if static is None else static
        self.keys = SharedKeys()
        # A step in which rows enter has shapes of its own. Where the others have fixed ones, rows enter when a quarter
        # of the places is free; elsewhere as soon as there is one.
        self._enter_at = max(1, rows // 4) if self.static else 1
        self.peak = 0
        self._active: list[Row] = []
        self._entering: list[Row] = []  # in the next pass
        self._places = Places()
        self._line = WaitingLine([], self._places)
        self._decode = static_logits
        if model.device.type == "cuda":
            self._decode = torch.compile(static_logits, mode="reduce-overhead", dynamic=False)

    @property
    def in_work(self) -> int:
        """Prompts that have been taken and not answered."""
        return len(self._active) + len(self._entering) + len(self._line)

    def run(self, groups: Iterable[PromptGroup | None]) -> Iterator[SharedAnswer]:
        """Answer all prompts; only once for each object."""
        return (event for event in self.stream(groups) if isinstance(event, SharedAnswer))

    @torch.inference_mode()
    def stream(self, groups: Iterable[PromptGroup | None]) -> Iterator[Token | SharedAnswer]:
        """The same with every token as it comes.

        Args:
            groups: None among them says that there is nothing now: prompts in work go on, and it is asked again behind
                the next token. So it may wait when nothing is :attr:`in_work`, and then only.
        """
        self._line = WaitingLine(groups, self._places)
        while not self._line.ended or self._active:
            fresh = self._enter()
            if not self._entering and not self._active:
                continue
            self._make_room()
            if self._entering or not self.static:
                logits = self._mixed_pass(fresh)
            else:
                logits = self._static_pass()
            self._active += self._entering
            self._entering = []
            yield from self._say(logits)

    def cancel(self, group: int, prompt: int) -> None:
        """Nobody waits for an answer any more: its place becomes free with the next token, and no answer comes.

        To be called between two events of :meth:`stream`. One that is complete, or not there yet, is not looked for.
        """
        for row in itertools.chain(self._active, self._line):
            if (row.group, row.prompt) == (group, prompt):
                row.cancelled = True

    def _enter(self) -> list[Prefix]:
        """Choose the rows that enter now and give places to their prefixes; those of them that are to be computed."""
        entering, fresh = self._entering, []
        tokens, free = 0, self.rows - len(self._active)
        while free >= self._enter_at and len(entering) < free and (row := self._line.first()):
            tokens += len(row.ids) + row.prefix.tokens * (row.prefix.place < 0)
            if tokens > ENTERING_TOKENS and entering:
                break
            if self._places.store(row.prefix):
                fresh.append(row.prefix)
            else:
                row.stored_tokens = row.prefix.tokens
            entering.append(self._line.take())
        places = list(dict.fromkeys(row.prefix.place for row in entering))
        entering.sort(key=lambda row: places.index(row.prefix.place))  # one that joins may have come behind others
        return fresh

    def _make_room(self) -> None:
        rows = [*self._active, *self._entering]
        prefixes = {row.prefix.place: row.prefix.tokens for row in rows}
        self.peak = max(self.peak, sum(prefixes.values()) + sum(row.room for row in rows))
        need = Capacity(self._places.count, max(prefixes.values()), len(rows), max(row.room for row in rows))
        size = static_size(self.model, self.rows, need) if self.static else grown(self.keys.capacity, need)
        self.keys.reserve(size)

    def _mixed_pass(self, fresh: Sequence[Prefix]) -> torch.Tensor:
        """Logits (rows, V) of the next token of the rows in work and of those that enter."""
        return mixed_logits(self.model, self.keys, self._active, self._entering, fresh)

    def _static_pass(self) -> torch.Tensor:
        """The same where no row enters, by operations of fixed shapes."""
        none = [[0, 0, -1, 0]] * (self.keys.capacity.rows - len(self._active))
        rows = [[row.said[-1], row.stored, row.prefix.place, row.prefix.tokens] for row in self._active]
        state = torch.tensor(rows + none).to(self.model.device)  # one copy for all that a step has to know
        return self._decode(self.model, self.keys, state.T)[: len(self._active)]

    def _say(self, logits: torch.Tensor) -> Iterator[Token | SharedAnswer]:
        """Give every row its next token; rows that have ended leave, the last ones take their places."""
        scores = logits.float()
        if self.penalty is not None:
            said = [torch.tensor([row.said], dtype=torch.long, device=scores.device) for row in self._active]
            scores = torch.cat([self.penalty(ids, score[None]) for ids, score in zip(said, scores, strict=True)])
        choices = {n: row.choice for n, row in enumerate(self._active) if row.sampling is not GREEDY}
        tokens, told = next_tokens(logits, scores, choices)
        for n, (row, token) in enumerate(zip(self._active, tokens, strict=True)):
            row.said.append(token)
            if n in told:
                row.log_probabilities.append(told[n])
            if not row.cancelled:
                yield Token(row.group, row.prompt, token, told.get(n))
        left = self._leave()
        yield from (row.answer() for row in left if not row.cancelled)

    def _leave(self) -> list[Row]:
        """The rows that have ended or are given up, of which no trace is left; the last ones take their places."""
        ended = {n for n, row in enumerate(self._active) if self._has_ended(row)}
        left = [self._active[n] for n in sorted(ended)]
        kept = len(self._active) - len(ended)
        targets = [n for n in sorted(ended) if n < kept]
        sources = [n for n in range(kept, len(self._active)) if n not in ended]
        self.keys.move_rows(sources, targets)
        for source, target in zip(sources, targets, strict=True):
            self._active[target] = self._active[source]
        del self._active[kept:]
        for row in left:
            self._places.leave(row)
        return left

    def _has_ended(self, row: Row) -> bool:
        return row.cancelled or row.said[-1] in self.ends or len(row.said) >= row.longest
