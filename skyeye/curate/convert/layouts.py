"""How other trainers want one record: a JSON object, and the files that such objects are written to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from skyeye.data.formats.base.written_boxes import write_mentions
from skyeye.data.formats.instructions.swift_objects import PHRASE, PLACE
from skyeye.data.geometry.box_text import BoxNotation, Size
from skyeye.data.geometry.boxes import OrientedBox
from skyeye.data.record import MARK, Mention, Record

Item = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """The form of one trainer.

    Attributes:
        item: (record, names of its images, notation, size of its image) -> its JSON object.
        file: where the records of a split go, below the folder that is written.
        boxes: the notation of boxes, where none is chosen; None: they are numbers beside the texts.
        image_setting: what the trainer calls the folder that the names of images are relative to.
        copies: images have to lie below the folder that is written.
    """

    item: Callable[[Record, Sequence[str], BoxNotation | None, Size | None], Item]
    file: str
    boxes: str | None
    image_setting: str
    copies: bool = False


def _texts(record: Record, notation: BoxNotation, size: Size | None) -> list[tuple[str, str]]:
    """Questions and answers, with their boxes written."""
    return [
        (
            write_mentions(turn.question, turn.question_mentions, notation, size),
            write_mentions(turn.answer, turn.answer_mentions, notation, size),
        )
        for turn in record.turns
    ]


def _conversations(record: Record, images: Sequence[str], notation: BoxNotation | None, size: Size | None) -> Item:
    """LLaVA's, which Qwen-VL's own fine-tuning follows."""
    assert notation is not None
    item: Item = {"id": record.id}
    if images:
        item["image"] = images[0] if len(images) == 1 else list(images)
    messages = []
    for number, (question, answer) in enumerate(_texts(record, notation, size)):
        shown = "" if number else "<image>\n" * len(images)
        messages += [{"from": "human", "value": shown + question}, {"from": "gpt", "value": answer}]
    item["conversations"] = messages
    if record.turns[0].system:
        item["system"] = record.turns[0].system
    return item


def _messages(record: Record, texts: Sequence[tuple[str, str]], images: int) -> list[dict[str, str]]:
    """``role`` and ``content``, an image marker for each image before the first question."""
    said = []
    if record.turns[0].system:
        said.append({"role": "system", "content": record.turns[0].system})
    for number, (question, answer) in enumerate(texts):
        shown = "" if number else "<image>" * images
        said += [{"role": "user", "content": shown + question}, {"role": "assistant", "content": answer}]
    return said


def _sharegpt(record: Record, images: Sequence[str], notation: BoxNotation | None, size: Size | None) -> Item:
    """LLaMA-Factory's ``sharegpt`` with the tags that its ``dataset_info.json`` names."""
    assert notation is not None
    messages = _messages(record, _texts(record, notation, size), len(images))
    return {"id": record.id, "messages": messages, "images": list(images)}


def _image_folder(record: Record, images: Sequence[str], notation: BoxNotation | None, size: Size | None) -> Item:
    """A row of ``metadata.jsonl``: ``file_names`` becomes the column ``images``, decoded."""
    item = _sharegpt(record, images, notation, size)
    return {"file_names": item.pop("images"), **item}


def _swift(record: Record, images: Sequence[str], notation: BoxNotation | None, size: Size | None) -> Item:
    """ms-swift's ``objects``: fractions at full precision (``norm1``), which it writes as its model wants them."""
    phrases: list[str] = []
    boxes: list[list[float]] = []

    def written(text: str, mentions: Sequence[Mention]) -> str:
        first, *rest = text.split(MARK)
        pieces = [first]
        for mention, behind in zip(mentions, rest, strict=True):
            upright = [box.upright() if isinstance(box, OrientedBox) else box for box in mention.boxes]
            boxes.extend(list(box) for box in upright)
            phrases.extend([] if mention.phrase is None else [mention.phrase])
            pieces += [PHRASE * (mention.phrase is not None), PLACE * len(upright), behind]
        return "".join(pieces)

    texts = [
        (written(turn.question, turn.question_mentions), written(turn.answer, turn.answer_mentions))
        for turn in record.turns
    ]
    item: Item = {"id": record.id, "messages": _messages(record, texts, len(images)), "images": list(images)}
    if boxes or phrases:
        item["objects"] = {"ref": phrases, "bbox": boxes, "bbox_type": "norm1"}
    return item


LAYOUTS: dict[str, Layout] = {
    "llava": Layout(_conversations, "{split}.json", "fractions", "--image_folder"),
    "ms_swift": Layout(_swift, "{split}.jsonl", None, "ROOT_IMAGE_DIR"),
    "llama_factory": Layout(_sharegpt, "{split}.jsonl", "qwen", "media_dir"),
    "qwen_vl": Layout(_conversations, "{split}.json", "qwen", "data_path"),
    "qwen2_5_vl": Layout(_conversations, "{split}.json", "qwen25", "data_path"),
    "qwen3_vl": Layout(_conversations, "{split}.json", "bbox_2d", "data_path"),
    "hf_folder": Layout(_image_folder, "{split}/metadata.jsonl", "qwen", "", copies=True),
    "hf_parquet": Layout(_image_folder, "{split}.parquet", "qwen", ""),
}
