"""``skyeye data show``: samples as a model meets them, on one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skyeye.curate.check.texts import LONE_SURROGATE
from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import Mention, Record
from skyeye.data.sequence import IGNORE_INDEX, IMAGE_TOKEN_ID
from skyeye.errors import SkyEyeError
from skyeye.html.page import render
from skyeye.html.thumbnails import Outline, outline, thumbnail

if TYPE_CHECKING:
    from skyeye.data.sequence import SequenceBuilder

PICTURE_SIDE = 480  # pixels of the longer side in the page
MOST_PICTURES = 8  # of one sample, e.g. frames of a video


@dataclass(frozen=True)
class Token:
    """One token as the page shows it; equal image tokens are one chip with their ``count``."""

    text: str
    id: int
    supervised: bool
    count: int = 1


@dataclass(frozen=True)
class ShownRecord:
    """One record as the page shows it."""

    record: Record
    pictures: list[str]  # data: URLs; of an unreadable image the reason
    outlines: list[Outline]
    prefix: list[Token]
    branch: list[Token]
    lengths: dict[str, int]  # tokens of prefix and branch, and how many of them are learnt
    refused: str  # why no sequence can be made of it


def show(records: Sequence[Record], builder: SequenceBuilder, about: dict[str, str]) -> str:
    """The page as HTML text.

    Args:
        records: what is shown, in order.
        builder: makes the token sequences, with the tokenizer of the model that will read them.
        about: ``target`` and ``tokenizer`` in words, for the head of the page.
    """
    samples = [_sample(record, builder) for record in records]
    return render("skyeye.curate", "show.html.jinja", samples=samples, about=about, most=MOST_PICTURES)


def _sample(record: Record, builder: SequenceBuilder) -> ShownRecord:
    prefix: list[Token] = []
    branch: list[Token] = []
    lengths: dict[str, int] = {}
    refused = ""
    try:
        if any(LONE_SURROGATE.search(text) for turn in record.turns for text in (turn.question, turn.answer)):
            raise SkyEyeError("the text holds half of a character (a lone surrogate), which no tokenizer takes")
        group = builder.group([record])
    except SkyEyeError as error:
        refused = str(error)
    else:
        (own,) = group.branches
        prefix = list(_tokens(builder.tokenizer, group.prefix_ids, [IGNORE_INDEX] * len(group.prefix_ids)))
        branch = list(_tokens(builder.tokenizer, own.input_ids, own.labels))
        learnt = sum(label != IGNORE_INDEX for label in own.labels)
        lengths = {"prefix": len(group.prefix_ids), "branch": len(own.input_ids), "learnt": learnt}
    pictures = [_picture(reference) for reference in record.images[:MOST_PICTURES]]
    return ShownRecord(record, pictures, list(_outlines(record)), prefix, branch, lengths, refused)


def _tokens(tokenizer: Any, ids: Sequence[int], labels: Sequence[int]) -> Iterator[Token]:
    run = 0  # image tokens that have not been told yet
    for place, (id, label) in enumerate(zip(ids, labels, strict=True)):
        if id == IMAGE_TOKEN_ID:
            run += 1
            if place + 1 == len(ids) or ids[place + 1] != IMAGE_TOKEN_ID:
                yield Token("image", id, False, run)
                run = 0
            continue
        yield Token(str(tokenizer.convert_ids_to_tokens(id)), id, label != IGNORE_INDEX)


def _outlines(record: Record) -> Iterator[Outline]:
    """Boxes of the texts; oriented ones of the references; and the known objects of a record that names no box."""
    polygons = record.references.get("polygons") or []
    drawn = 0
    for turn in record.turns:
        for kind, mentions in (("question", turn.question_mentions), ("answer", turn.answer_mentions)):
            for box, phrase in _named_boxes(mentions).items():
                drawn += 1
                yield outline(box, kind, phrase)
    for polygon in polygons:
        if polygon is not None:
            yield outline(polygon, "oriented")
    if not drawn:
        for region in record.regions:
            whole = tuple(region.box) == (0.0, 0.0, 1.0, 1.0)  # the word for all of the ground
            if not whole:
                yield outline(region.polygon or region.box, "known", region.phrase)


def _named_boxes(mentions: Iterable[Mention]) -> dict[Box, str]:
    """The upright boxes of a text, each once, with the phrase before it."""
    boxes: dict[Box, str] = {}
    phrase = ""
    for mention in mentions:
        phrase = phrase if mention.phrase is None else mention.phrase.strip()
        boxes |= {box.upright() if isinstance(box, OrientedBox) else box: phrase for box in mention.boxes}
    return boxes


def _picture(reference: str) -> str:
    """A data: URL, or why there is none."""
    try:
        return thumbnail(reference, PICTURE_SIDE)
    except SkyEyeError as error:
        return str(error)
