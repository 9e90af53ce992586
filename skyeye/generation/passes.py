"""Forward passes of rows that share prefixes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from skyeye.data.sequence import IMAGE_TOKEN_ID
from skyeye.generation.prefix_cache import Entering, ForwardLayout, StaticLayout
from skyeye.generation.schedule import Prefix, Row
from skyeye.generation.stored_keys import SharedKeys
from skyeye.models.language import before_head
from skyeye.models.last_layer import KEYWORD
from skyeye.models.modeling import SkyEyeForConditionalGeneration


def mixed_logits(
    model: SkyEyeForConditionalGeneration,
    keys: SharedKeys,
    active: Sequence[Row],
    entering: Sequence[Row],
    fresh: Sequence[Prefix],
) -> torch.Tensor:
    """Logits (rows, V) of the next token of the rows in work and of those that enter.

    Args:
        entering: those of a prefix stand together.
        fresh: prefixes of entering rows that are not stored yet; they are computed and stored in this pass.
    """
    ids = [row.said[-1] for row in active]
    positions = [row.prefix.tokens + row.stored for row in active]
    last = list(range(len(active)))
    spans, features = [], []
    by_place: dict[int, list[Row]] = {}
    for row in entering:
        by_place.setdefault(row.prefix.place, []).append(row)
    new = {prefix.place for prefix in fresh}
    for place, rows in by_place.items():
        prefix = rows[0].prefix
        common = prefix.tokens
        if place in new:
            ids += prefix.ids
            positions += range(common)
            features += [] if prefix.features is None else [prefix.features]
            prefix.features = None  # what is stored is not computed again
        for row in rows:
            ids += row.ids
            positions += range(common, common + len(row.ids))
            last.append(len(ids) - 1)
        spans.append(Entering(place, common, place in new, [len(row.ids) for row in rows]))
    device = model.device
    step = ForwardLayout(
        keys,
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
    return line_logits(model, line, seen, positions, step, places)


def line_logits(
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


def static_logits(model: SkyEyeForConditionalGeneration, keys: SharedKeys, state: torch.Tensor) -> torch.Tensor:
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
