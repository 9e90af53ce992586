"""The sequence builder with which ``skyeye data show`` and ``stats`` count tokens: of a recipe, or of a tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path

from skyeye.config.schema import ModelConfig
from skyeye.curate.stats.count import Lengths
from skyeye.curate.target import Target, records_of
from skyeye.data.prompts import PromptStyle, prompt_style
from skyeye.data.record import Record, Turn
from skyeye.data.sequence import IGNORE_INDEX, SequenceBuilder
from skyeye.errors import SkyEyeError
from skyeye.models.configuration import SkyEyeConfig
from skyeye.models.processing import SkyEyeProcessor
from skyeye.models.tokenizer import load_tokenizer, train_tokenizer

STAND_IN_PIECES = 8000
CACHE = 100_000  # lengths kept: questions and answers of a closed vocabulary come again and again
_PIECES = re.compile(r"[^\W\d_]{1,6}|\d|[^\w\s]|_")


def open_builder(
    target: Target, tokenizer: Path | None, records: Iterable[Record] | None = None
) -> tuple[SequenceBuilder, str]:
    """The builder for a target, and in words which tokenizer it has.

    That is the one given, else the recipe's (learnt from the recipe's texts, where it says so), else one learnt from
    ``records``: its pieces are words, so it shows where a sequence begins and ends, not how long it is for LLaMA.

    Raises:
        SkyEyeError: the tokenizer cannot be opened, or there is none.
    """
    model = target.recipe.model if target.recipe is not None else ModelConfig()
    settings = model.tokenizer
    if tokenizer is not None:
        found, said = load_tokenizer(tokenizer), str(tokenizer)
    elif target.recipe is not None and settings.train_vocab_size:
        found = train_tokenizer(
            _texts(records_of(target), prompt_style(model.prompt)), settings.train_vocab_size, settings.box_tokens
        )
        said = f"learnt from the recipe's data, {len(found)} pieces"
    elif place := settings.path or model.language.pretrained:
        found, said = load_tokenizer(place), str(place)
    elif target.recipe is None and records is not None:
        found = train_tokenizer(_texts(records, prompt_style(model.prompt)), STAND_IN_PIECES)
        said = "a stand-in learnt from this data, because none was given (--tokenizer); LLaMA's has other pieces"
    else:
        raise SkyEyeError("no tokenizer was given", where=str(target.path), remedy="--tokenizer: a file or folder")
    return SkyEyeProcessor.from_config(model, found).builder, said


def open_counter(target: Target, tokenizer: Path | None) -> tuple[Callable[[Record], Lengths | None], str]:
    """What counts the tokens of a record: exactly, or roughly where no tokenizer can be opened; and that in words.

    Roughly: six letters begun, a digit and a sign are a token each, and what the prompt adds is counted as for LLaMA.
    """
    try:
        builder, said = open_builder(target, tokenizer)
    except SkyEyeError as error:
        if tokenizer is not None:
            raise
        model = target.recipe.model if target.recipe is not None else ModelConfig()
        per_image = SkyEyeConfig.of(model).tokens_per_image
        return partial(_roughly, per_image), f"a rough rule, six letters a token ({error.what})"

    @lru_cache(CACHE)
    def count(images: tuple[str, ...], turns: tuple[Turn, ...]) -> Lengths | None:
        record = Record("", "", "conversation", "train", images, turns)
        try:
            group = builder.group([record])
        except (SkyEyeError, TypeError):  # TypeError: tokenizers refuse a text with half a character
            return None
        labels = group.branches[0].labels
        return Lengths(len(group.prefix_ids), len(labels), sum(label != IGNORE_INDEX for label in labels))

    return lambda record: count(("image",) * len(record.images), record.turns), said


def _roughly(per_image: int, record: Record) -> Lengths | None:
    if not all(turn.answer.strip() for turn in record.turns) or not record.turns:
        return None
    questions = sum(len(_PIECES.findall(turn.question)) for turn in record.turns)
    learnt = sum(len(_PIECES.findall(turn.answer)) + 1 for turn in record.turns)
    around = 9 * len(record.turns)  # [INST] [/INST] and the spaces before it, in LLaMA's pieces
    pictures = (per_image + 6) * len(record.images)  # <Img> before and </Img> behind each
    return Lengths(1 + pictures, questions + around + learnt, learnt)


def _texts(records: Iterable[Record], style: PromptStyle) -> dict[str, None]:
    """Every text once, as a training run collects them."""
    texts: dict[str, None] = {}
    for record in records:
        for turn in record.turns:
            texts[style.question(turn)] = texts[style.answer(turn)] = None
        for region in record.regions:
            texts[region.phrase] = None
    return texts
