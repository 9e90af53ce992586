"""Layouts of instruction records other than LLaVA's, as LLaVA would write them: LHRS-Instruct, VHM, Qwen-VL's
``Picture 1: <img>a.jpg</img>``, and the image columns of Hugging Face image folders."""

from __future__ import annotations

import re
from typing import Any

from skyeye.data.formats.base.problems import as_text, pick
from skyeye.data.formats.captions.base import PROMPTS
from skyeye.data.formats.instructions.messages import text_of

_VHM = re.compile(r"\{(VG|VQA|CLS|IT|IDK)\}\s*")
_VHM_TAGS = {"VG": "[refer] ", "VQA": "[vqa] ", "CLS": "[vqa] "}
#: An image inside a text of Qwen-VL, with the number that its tokenizer writes before it.
_PICTURE = re.compile(r"(?:Picture \d{1,3}:\s*)?<img>\s*(?P<name>[^<>\n]{1,4096}?)\s*</img>\n?")
_MESSAGES = ("conversations", "messages")
#: Columns that name the images of a row of an image folder; the reader of Hugging Face opens these.
FILE_NAMES = ("images_file_names", "file_names", "images_file_name", "file_name")


def with_folder(item: Any) -> Any:
    """A record of VHM, which names the folder of its picture beside it, with both in one name."""
    folder, name = (item.get(key) for key in ("source_dataset", "image")) if isinstance(item, dict) else (None, None)
    if not isinstance(folder, str) or not isinstance(name, str):
        return item
    return {**item, "image": f"{folder}/{name.removeprefix(f'{folder}/')}"}


def as_llava(item: dict[str, Any], vhm_marks: bool) -> dict[str, Any]:
    """A record with ``image`` and ``conversations``, where it has another layout that is known; else as it is.

    Args:
        vhm_marks: VHM's marks become task tags.
    """
    if "messages" in item and "conversations" not in item:
        item = {**item, "conversations": item["messages"]}
    if "conversations" not in item:
        item = _with_caption(_with_turns(item))
    if "image" not in item and "images" not in item:
        item = _with_images(item)
    return _with_tag(item) if vhm_marks else item


def _with_turns(item: dict[str, Any]) -> dict[str, Any]:
    """LHRS-Instruct: ``conv`` with ``Question`` and ``Answer``."""
    turns = item.get("conv")
    if turns is None and "question" in item:
        turns = {"Question": item["question"], "Answer": item.get("answer")}
    if turns is None:
        return item
    messages = []
    for turn in turns if isinstance(turns, list) else [turns]:
        turn = turn if isinstance(turn, dict) else {}
        messages.append({"from": "human", "value": turn.get("Question")})
        messages.append({"from": "gpt", "value": turn.get("Answer", turn.get("value"))})
    name = next((item[key] for key in ("image", "name", "filename", "img") if key in item), None)
    return {"image": name, "conversations": messages}


def _with_caption(item: dict[str, Any]) -> dict[str, Any]:
    """A row of an image folder with a caption and nothing else, as its documentation shows it: the answer to a request
    for one."""
    said = as_text(item.get("text", item.get("caption")))
    named = any(key in item for key in FILE_NAMES)
    if said is None or not named or any(key in item for key in ("conversations", "ground_truth", "answer")):
        return item
    asked = f"[caption] {pick(PROMPTS, said)}"
    return {**item, "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]}


def _with_images(item: dict[str, Any]) -> dict[str, Any]:
    """The images that a column of an image folder names, or that stand in the texts as in Qwen-VL."""
    for key in FILE_NAMES:
        if item.get(key):
            return {**item, "image": item[key]}
    messages = item.get("conversations")
    if not isinstance(messages, list):
        return item
    names: list[str] = []
    said = []
    for message in messages:
        text = text_of(message)
        if text is not None and "<img>" in text:
            names += [match["name"] for match in _PICTURE.finditer(text)]
            message = {**message, "value": _PICTURE.sub("<image>\n", text)}
        said.append(message)
    return {**item, "image": names, "conversations": said} if names else item


def _with_tag(item: dict[str, Any]) -> dict[str, Any]:
    """VHM's ``{VG}`` as a task tag."""
    messages = item.get("conversations")
    if isinstance(messages, list) and messages and isinstance(messages[0], dict):
        asked = text_of(messages[0])
        if asked and _VHM.search(asked):
            asked = _VHM.sub(lambda match: _VHM_TAGS.get(match[1], ""), asked, count=1)
            item = {**item, "conversations": [{**messages[0], "value": asked}, *messages[1:]]}
    return item
