"""SkyEye-968k as published: a tree of LLaVA-style JSON files, annotations only. Any other such file is read as well.

What a record may look like is in :mod:`skyeye.data.formats.llava`; this file knows the tree: which data set, task and
image folder each annotation file of the release refers to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from skyeye.data.formats.common import BadRecord, Problem, load_json, nearest
from skyeye.data.formats.images import ImageFolder
from skyeye.data.formats.llava import parse_llava
from skyeye.data.record import TASK_TAGS, Record
from skyeye.errors import SkyEyeError


class Published(NamedTuple):
    """What the release says about one of its files: the data set, the task, and the image folder it refers to."""

    source: str
    task: str
    images: str


#: Annotation file (without ``.json``, lower case) -> what it holds.
PUBLISHED: dict[str, Published] = {
    "caption_rsicd_train": Published("RSICD", "caption", "RSICD_images"),
    "caption_rsitmd_train": Published("RSITMD", "caption", "rsitmd/images"),
    "caption_ucm_train": Published("UCM-Captions", "caption", "UCMerced"),
    "caption_sydney_train": Published("Sydney-Captions", "caption", "sydney_caption/imgs"),
    "caption_nwpu_train": Published("NWPU-Captions", "caption", "NWPU-RESISC45"),
    "caption_era_train": Published("CapERA", "video_caption", "SingleFrames/Tra"),
    "earvqa": Published("ERA-VQA", "vqa", "SingleFrames/Tra"),
    "dotavqa_train": Published("RSIVQA-DOTA", "vqa", "DOTA"),
    "sydneyvqa": Published("RSIVQA-Sydney", "vqa", "sydney_caption/imgs"),
    "ucmvqa": Published("RSIVQA-UCM", "vqa", "UCMerced"),
    "rsvqalr_train": Published("RSVQA-LR", "vqa", "Images_LR"),
    "rsvqahr_train": Published("RSVQA-HR", "vqa", "RSVQA_HR/Data"),
    "rsvg": Published("RSVG", "refer", "RSVG/images"),
    "diorvg_train": Published("DIOR-RSVG", "refer", "JPEGImages-trainval"),
    "diorpg_train": Published("RSPG", "detection", "JPEGImages-trainval"),
    "dota_conversa": Published("DOTA-Conversa", "conversation", "DOTA"),
    "dior_conversa": Published("DIOR-Conversa", "conversation", "JPEGImages-trainval"),
    "ucm_conversa": Published("UCM-Conversa", "conversation", "UCMerced"),
    "sydney_conversa": Published("Sydney-Conversa", "conversation", "sydney_caption/imgs"),
}

#: Folder of the published tree -> task of records without a tag. Phrase grounding is asked with ``[detection]`` in the
#: paper's figure ("[detection] The three airplanes").
FOLDER_TASKS = {
    "caption": "caption",
    "vqa": "vqa",
    "vg": "refer",
    "phrasegrounding": "detection",
    "multitask_conversation": "conversation",
}


def read(
    path: str | Path,
    images: str | None = None,
    split: str | None = None,
    *,
    source: str | None = None,
    task: str | None = None,
) -> Iterator[Record | Problem]:
    """Records of one JSON file, or of every ``*.json`` below a folder (the published tree).

    Args:
        path: file or folder.
        images: folder that holds the images, directly or in the folders named by the release; default: beside the file.
        split: keep only this split; the split is the last word of the file's name (``_train``, ``_val``, ``_test``),
            else train.
        source: name of the data set; default: the published name of the file, else the file's name.
        task: what records without a tag ask; default: from the file's name and folder.
    """
    path = Path(path)
    if task is not None and task not in TASK_TAGS:
        raise SkyEyeError(f"unknown task {task!r}", where="options.task", remedy=nearest(task, list(TASK_TAGS)))
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files:
        raise SkyEyeError("no *.json file in this folder", where=str(path), remedy="check `path:` of this source")
    folders: dict[Path, ImageFolder] = {}  # an image folder is listed once, however many files refer to it
    for file in files:
        file_split = split_of(file)
        if split is not None and file_split != split:
            continue
        published = PUBLISHED.get(file.stem.lower())
        root = Path(images) if images else (path if path.is_dir() else path.parent)
        hinted = root / published.images if published else root
        folder = hinted if hinted.is_dir() else root
        finder = folders.setdefault(folder, ImageFolder(folder))
        for index, item in enumerate(load_json(file, list)):
            where = f"{file}, record {index}"
            try:
                yield parse_llava(
                    item,
                    where,
                    id=f"{file.stem}:{index}",
                    split=file_split,
                    task=task or task_of(file),
                    source=source or (published.source if published else file.stem),
                    find_image=finder.find,
                )
            except BadRecord as error:
                yield error.problem()


def split_of(file: Path) -> str:
    """``caption_RSICD_test.json`` -> ``"test"``; files without such an ending are training data."""
    ending = re.split(r"[_.-]", file.stem.lower())[-1]
    return ending if ending in ("train", "val", "test") else "train"


def task_of(file: Path) -> str | None:
    """What an annotation file of the published tree asks, from its name or its folder; None: not known."""
    published = PUBLISHED.get(file.stem.lower())
    return published.task if published else FOLDER_TASKS.get(file.parent.name.lower())
