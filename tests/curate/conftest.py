"""A made SkyEye-968k: the published tree with a few records a file, and the image sets it refers to."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from skyeye.curate.skyeye968k_table import IMAGE_SETS, TABLE

FOLDERS = {
    "captioning": "caption",
    "video captioning": "caption",
    "VQA": "vqa",
    "visual grounding": "vg",
    "phrase grounding": "phrasegrounding",
    "conversation": "multitask_conversation",
}
#: Annotation file -> image set it refers to, written down from the published table.
SETS = {
    "caption_RSICD_train": "RSICD_images",
    "caption_RSITMD_train": "rsitmd/images",
    "caption_UCM_train": "UCMerced",
    "caption_Sydney_train": "sydney_caption/imgs",
    "caption_NWPU_train": "NWPU-RESISC45",
    "caption_ERA_train": "SingleFrames/Tra",
    "EARVqa": "SingleFrames/Tra",
    "DOTAvqa_train": "DOTA",
    "SydneyVqa": "sydney_caption/imgs",
    "UCMvqa": "UCMerced",
    "RSVQALR_train": "Images_LR",
    "RSVQAHR_train": "RSVQA_HR/Data",
    "rsvg": "RSVG/images",
    "DIORvg_train": "JPEGImages-trainval",
    "diorpg_train": "JPEGImages-trainval",
    "DOTA_Conversa": "DOTA",
    "DIOR_Conversa": "JPEGImages-trainval",
    "UCM_Conversa": "UCMerced",
    "Sydney_Conversa": "sydney_caption/imgs",
}


@pytest.fixture(scope="session")
def write_release():
    """Writes a made SkyEye-968k below a folder; returns its tree and the folder of its images."""
    return _write_release


@pytest.fixture(scope="session")
def names_of():
    """(folder of an image set as the release names it, count) -> names of its images."""
    return _names_of


def _names_of(folder: str, count: int) -> list[str]:
    """Image names as the sets have them: plain numbers in four of them, class folders in one."""
    if folder in ("UCMerced", "sydney_caption/imgs"):
        return [f"{n}.tif" for n in range(1, count + 1)]
    if folder in ("Images_LR", "RSVQA_HR/Data"):
        return [f"{n}.png" for n in range(count)]
    if folder == "NWPU-RESISC45":
        return [f"class_{n % 3}/class_{n % 3}_{n:03}.jpg" for n in range(count)]
    if folder == "JPEGImages-trainval":
        return [f"{n:05}.jpg" for n in range(count)]
    return [f"{folder.split('/')[0].lower()}_{n}.jpg" for n in range(count)]


def _write_release(root: Path, images: dict[str, int] | int = 6, records: int = 9, seed: int = 0) -> tuple[Path, Path]:
    """Write ``root/tree`` and ``root/images``; every annotation file has ``records`` records."""
    tree, pictures = root / "tree", root / "images"
    names = {}
    for number, images_set in enumerate(IMAGE_SETS):
        folder = images_set.folder
        names[folder] = _names_of(folder, images if isinstance(images, int) else images[folder])
        for place, name in enumerate(names[folder]):
            path = pictures / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 6), (20 * number, place % 256, place // 256)).save(path)
    choose = random.Random(seed)
    for row in TABLE:
        for stem in row.files:
            entries = [_record(row.task, choose.choice(names[SETS[stem]]), n) for n in range(records)]
            path = tree / FOLDERS[row.task] / f"{stem}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(entries))
    return tree, pictures


def _record(task: str, image: str, number: int) -> dict:
    question, answer = {
        "VQA": (f"[vqa] is there a ship number {number}?", "yes"),
        "visual grounding": (f"[refer] where is ship {number}?", "{<10><20><30><40>}"),
        "phrase grounding": (f"[detection] The ship {number}", "<p>The ship</p> {<10><20><30><40>}"),
        "conversation": (f"What is ship {number}?", "A ship."),
    }.get(task, ("[caption] briefly describe the image", f"a ship of kind {number}"))
    talk = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    if task == "conversation":
        talk += [{"from": "human", "value": "Is it large?"}, {"from": "gpt", "value": "Yes."}]
    return {"image": image, "conversations": talk}
