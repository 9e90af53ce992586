"""Greedy answers to many questions about few images: an image and its prefix are computed once, not once a question.

The prompts of a group share their first tokens, image tokens included. These are computed once and their keys and
values kept once; the rest of every prompt, and its answer, is a *row* that looks at them
(:mod:`skyeye.generation.prefix_cache`). A row that has ended leaves at once and a waiting one enters in the same
forward
pass that continues the others, also one about another image: a batch stays full whatever the lengths of its answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from weakref import WeakKeyDictionary

import torch

from skyeye.data.sequence import IMAGE_TOKEN_ID, collate_prompts
from skyeye.errors import SkyEyeError
from skyeye.generation.prefix_cache import Capacity, Entering, ForwardLayout, SharedKeys, StaticLayout
from skyeye.models.language import before_head
from skyeye.models.last_layer import KEYWORD
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.prefix_attention import NAME
from skyeye.models.repetition_penalty import RepetitionPenalty

#: Tokens of prompts that enter in one forward pass; a larger prefix enters alone. More would only take memory.
ENTERING_TOKENS = 4096
#: Buffers grow in steps of this many tokens, so that they are seldom copied.
GRAIN = 32
#: What is compiled is compiled anew for every size of the buffers: there they have this many tokens, or twice, four
#: times as many, and so on, and never fewer than an earlier task of the same model needed.
SMALLEST_STATIC = 64
_STATIC_SIZES: WeakKeyDictionary[SkyEyeForConditionalGeneration, Capacity] = WeakKeyDictionary()


@dataclass(frozen=True)
class PromptGroup:
    """Prompts about the same images.

    Attributes:
        prompts: ids of each, ``IMAGE_TOKEN_ID`` at image tokens; all images stand in what the prompts have in common.
        image_features: (images, tokens_per_image, hidden_size), the images of one prompt; None without images.
        max_new_tokens: longest answer to each prompt, in tokens.
    """

    prompts: Sequence[Sequence[int]]
    image_features: torch.Tensor | None
    max_new_tokens: Sequence[int]

    @property
    def common(self) -> int:
        """Tokens that all prompts begin with; at least one of each prompt is left for its row."""
        same = sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, zip(*self.prompts, strict=False)))
        common = min(same, min(map(len, self.prompts)) - 1)
        if any(IMAGE_TOKEN_ID in prompt[common:] for prompt in self.prompts):
            raise ValueError("an image stands behind the common beginning of the prompts of a group")
        return common


@dataclass(frozen=True)
class SharedAnswer:
    """An answer: ``ids`` end with the end token where it came; ``group`` and ``prompt`` count from 0."""

    group: int
    prompt: int
    ids: list[int]


def answer_groups(
    model: SkyEyeForConditionalGeneration,
    groups: Iterable[PromptGroup],
    *,
    rows: int,
    eos_token_id: int | Sequence[int] | None,
    repetition_penalty: float = 1.0,
    static: bool | None = None,
) -> Iterator[SharedAnswer]:
    """Answer all prompts greedily; answers come in the order in which they end.

    The token ids are those of ``model.generate`` for each prompt alone, up to the rounding of half precision. A
    language model whose attention cannot be told about shared prefixes answers in plain batches.

    Args:
        model: in evaluation mode.
        groups: taken when there is room for their rows, so their images can be encoded as late.
        rows: rows in work at the same time; memory grows with them.
        eos_token_id: ids that end an answer; None: only its longest length does.
        repetition_penalty: see :class:`~skyeye.models.repetition_penalty.RepetitionPenalty`.
        static: decode by operations of fixed shapes, compiled on CUDA; None: on CUDA only.
    """
    ends = {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id or ())
    penalty = None
    if repetition_penalty != 1.0:
        penalty = RepetitionPenalty(repetition_penalty, model.generation_config.bos_token_id)
    asks_nothing, groups = _asks_nothing(groups)
    if asks_nothing or not can_share(model):
        yield from _in_plain_batches(model, groups, rows, ends, repetition_penalty)
        return
    yield from SharedGeneration(model, rows, ends, penalty, static).run(groups)


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
        _logits(model, torch.zeros(1, 1, dtype=torch.long, device=model.device), None, [0], step)
    except SkyEyeError:  # it limits its attention: see prefix_attention
        return False
    return len(step.layers) == model.language_model.config.num_hidden_layers


@dataclass
class _Prefix:
    """A prefix that has a place in the buffers."""

    place: int
    tokens: int
    unfinished: int  # prompts whose answers are not complete


@dataclass
class _Row:
    """A prompt in work."""

    group: int
    prompt: int
    ids: list[int]  # behind the prefix
    longest: int
    prefix: _Prefix
    said: list[int] = field(default_factory=list)

    @property
    def stored(self) -> int:
        """Tokens whose keys are stored, when the last one said has not been read yet."""
        return len(self.ids) + len(self.said) - 1

    @property
    def room(self) -> int:
        return len(self.ids) + self.longest


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
        self._active: list[_Row] = []
        self._free: list[int] = []  # places of prefixes that are not needed any more
        self._places = 0
        self._decode = _static_logits
        if model.device.type == "cuda":
            self._decode = torch.compile(_static_logits, mode="reduce-overhead", dynamic=False)

    @torch.inference_mode()
    def run(self, groups: Iterable[PromptGroup]) -> Iterator[SharedAnswer]:
        """Answer all prompts; only once for each object."""
        waiting = self._line_up(groups)
        following = next(waiting, None)
        while following or self._active:
            entering: list[_Row] = []
            fresh: dict[int, PromptGroup] = {}  # by place: groups whose prefix is computed in this pass
            tokens = 0
            free = self.rows - len(self._active)
            while following and free >= self._enter_at and len(entering) < free:
                row, group, is_first = following
                tokens += len(row.ids) + row.prefix.tokens * is_first
                if tokens > ENTERING_TOKENS and entering:
                    break
                if is_first:
                    row.prefix.place = self._free.pop() if self._free else self._places
                    self._places = max(self._places, row.prefix.place + 1)
                    fresh[row.prefix.place] = group
                entering.append(row)
                following = next(waiting, None)
            self._make_room(entering)
            if entering or not self.static:
                logits = self._mixed_pass(entering, fresh)
            else:
                logits = self._static_pass()
            self._active += entering
            yield from self._say(logits)

    def _line_up(self, groups: Iterable[PromptGroup]) -> Iterator[tuple[_Row, PromptGroup, bool]]:
        """Rows in their order, each with its group and whether it is the first of it."""
        for number, group in enumerate(groups):
            if not group.prompts:
                continue
            common = group.common
            prefix = _Prefix(-1, common, len(group.prompts))
            for index, (prompt, longest) in enumerate(zip(group.prompts, group.max_new_tokens, strict=True)):
                yield _Row(number, index, list(prompt[common:]), longest, prefix), group, index == 0

    def _make_room(self, entering: Sequence[_Row]) -> None:
        rows = [*self._active, *entering]
        prefixes = {row.prefix.place: row.prefix.tokens for row in rows}
        self.peak = max(self.peak, sum(prefixes.values()) + sum(row.room for row in rows))
        need = Capacity(self._places, max(prefixes.values()), len(rows), max(row.room for row in rows))
        self.keys.reserve(self._static_size(need) if self.static else _grown(self.keys.capacity, need))

    def _static_size(self, need: Capacity) -> Capacity:
        """One of few sizes that has room; at least that of earlier tasks."""
        few = -(-self.rows // 4)  # prefixes: many questions about few images, or every row its own
        size = Capacity(
            few if need.prefixes <= few else max(self.rows + 1, need.prefixes),
            _power_of_two(need.prefix_tokens),
            self.rows,
            _power_of_two(need.row_tokens),
        )
        _STATIC_SIZES[self.model] = size.covering(_STATIC_SIZES.get(self.model, size))
        return _STATIC_SIZES[self.model]

    def _mixed_pass(self, entering: Sequence[_Row], fresh: dict[int, PromptGroup]) -> torch.Tensor:
        """Logits (rows, V) of the next token of the rows in work and of those that enter."""
        active = self._active
        ids = [row.said[-1] for row in active]
        positions = [row.prefix.tokens + row.stored for row in active]
        last = list(range(len(active)))
        spans, features = [], []
        by_place: dict[int, list[_Row]] = {}
        for row in entering:
            by_place.setdefault(row.prefix.place, []).append(row)
        for place, rows in by_place.items():
            common = rows[0].prefix.tokens
            if group := fresh.get(place):
                ids += group.prompts[0][:common]
                positions += range(common)
                features += [] if group.image_features is None else [group.image_features]
            for row in rows:
                ids += row.ids
                positions += range(common, common + len(row.ids))
                last.append(len(ids) - 1)
            spans.append(Entering(place, common, group is not None, [len(row.ids) for row in rows]))
        device = self.model.device
        step = ForwardLayout(
            self.keys,
            [(row.prefix.place, row.prefix.tokens) for row in active],
            [row.stored for row in active],
            spans,
            device,
        )
        seen = torch.cat(features) if features else None
        given = 0 if seen is None else seen.shape[0] * seen.shape[1]
        if given != ids.count(IMAGE_TOKEN_ID):
            raise ValueError(f"prompts with {ids.count(IMAGE_TOKEN_ID)} image tokens, images that give {given}")
        line, places = torch.tensor([ids], device=device), torch.tensor(last, device=device)
        return _logits(self.model, line, seen, positions, step, places)

    def _static_pass(self) -> torch.Tensor:
        """The same where no row enters, by operations of fixed shapes."""
        none = [[0, 0, -1, 0]] * (self.keys.capacity.rows - len(self._active))
        rows = [[row.said[-1], row.stored, row.prefix.place, row.prefix.tokens] for row in self._active]
        state = torch.tensor(rows + none).to(self.model.device)  # one copy for all that a step has to know
        return self._decode(self.model, self.keys, state.T)[: len(self._active)]

    def _say(self, logits: torch.Tensor) -> Iterator[SharedAnswer]:
        """Give every row its next token; rows that have ended leave, the last ones take their places."""
        scores = logits.float()
        if self.penalty is not None:
            said = [torch.tensor([row.said], dtype=torch.long, device=scores.device) for row in self._active]
            scores = torch.cat([self.penalty(ids, score[None]) for ids, score in zip(said, scores, strict=True)])
        for row, token in zip(self._active, scores.argmax(dim=-1).tolist(), strict=True):
            row.said.append(token)
        ended = {n for n, row in enumerate(self._active) if row.said[-1] in self.ends or len(row.said) >= row.longest}
        left = [self._active[n] for n in sorted(ended)]
        kept = len(self._active) - len(ended)
        targets = [n for n in sorted(ended) if n < kept]
        sources = [n for n in range(kept, len(self._active)) if n not in ended]
        self.keys.move_rows(sources, targets)
        for source, target in zip(sources, targets, strict=True):
            self._active[target] = self._active[source]
        del self._active[kept:]
        for row in left:
            row.prefix.unfinished -= 1
            if not row.prefix.unfinished:
                self._free.append(row.prefix.place)
            yield SharedAnswer(row.group, row.prompt, row.said)


def _logits(
    model: SkyEyeForConditionalGeneration,
    ids: torch.Tensor,
    features: torch.Tensor | None,
    positions: Sequence[int],
    step: ForwardLayout,
    places: torch.Tensor | None = None,
) -> torch.Tensor:
    """Logits at the ``places`` (N,) of a line of tokens (1, T); None: at all of them."""
    with before_head(model.get_output_embeddings(), places):
        line = torch.tensor([list(positions)], device=ids.device)
        return _language_model(model, model.embed(ids, features), line, step, places)


def _static_logits(model: SkyEyeForConditionalGeneration, keys: SharedKeys, state: torch.Tensor) -> torch.Tensor:
    """Logits (rows, V).

    Args:
        state: (4, rows), of every row its last token, how many of its tokens are stored, and the place and the tokens
            of its prefix; -1 for the place where there is no row.
    """
    ids, lengths, places, tokens = state
    step = StaticLayout(keys, lengths, places, tokens)
    return _language_model(model, model.get_input_embeddings()(ids[None]), (lengths + tokens)[None], step)[0]


def _language_model(
    model: SkyEyeForConditionalGeneration,
    embeddings: torch.Tensor,
    positions: torch.Tensor,
    step: ForwardLayout | StaticLayout,
    places: torch.Tensor | None = None,
) -> torch.Tensor:
    """Logits of a line of tokens.

    Args:
        places: (N,), where the last layer is computed; None: everywhere.
    """
    output = model.language_model(
        inputs_embeds=embeddings,
        # transformers makes no mask where it is given one of four dimensions; the step does not read it
        attention_mask=embeddings.new_zeros(1, 1, 1, 1),
        position_ids=positions,
        use_cache=False,
        shared_keys=step,
        **({} if places is None or len(places) == embeddings.shape[1] else {KEYWORD: places}),
    )
    return output.logits


def _grown(have: Capacity, need: Capacity) -> Capacity:
    """Room for more prefixes and rows than are needed, twice as many as before, and for some more tokens."""
    return Capacity(
        have.prefixes if need.prefixes <= have.prefixes else max(need.prefixes, 2 * have.prefixes),
        -(-need.prefix_tokens // GRAIN) * GRAIN,
        have.rows if need.rows <= have.rows else max(need.rows, 2 * have.rows),
        -(-need.row_tokens // GRAIN) * GRAIN,
    )


def _power_of_two(tokens: int) -> int:
    return max(SMALLEST_STATIC, 1 << (tokens - 1).bit_length())


@torch.inference_mode()
def _in_plain_batches(
    model: SkyEyeForConditionalGeneration,
    groups: Iterable[PromptGroup],
    rows: int,
    ends: Collection[int],
    repetition_penalty: float,
) -> Iterator[SharedAnswer]:
    batch: list[tuple[int, int, PromptGroup]] = []
    for number, group in enumerate(groups):
        for index in range(len(group.prompts)):
            batch.append((number, index, group))
            if len(batch) == rows:
                yield from _plain_batch(model, batch, ends, repetition_penalty)
                batch = []
    if batch:
        yield from _plain_batch(model, batch, ends, repetition_penalty)


def _plain_batch(
    model: SkyEyeForConditionalGeneration,
    batch: Sequence[tuple[int, int, PromptGroup]],
    ends: Collection[int],
    repetition_penalty: float,
) -> Iterator[SharedAnswer]:
    prompts = [group.prompts[index] for _, index, group in batch]
    features = [group.image_features for _, _, group in batch if group.image_features is not None]
    filler = min(ends, default=0)  # never read: prompts are masked there, answers are cut
    inputs = {name: tensor.to(model.device) for name, tensor in collate_prompts(prompts, filler).items()}
    output = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        image_features=torch.cat(features) if features else None,
        max_new_tokens=max(group.max_new_tokens[index] for _, index, group in batch),
        repetition_penalty=repetition_penalty,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(ends) or None,
        pad_token_id=filler,
    ).tolist()
    for (number, index, group), ids in zip(batch, output, strict=True):
        ids = ids[: group.max_new_tokens[index]]
        stop = next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids))
        yield SharedAnswer(number, index, ids[:stop])
