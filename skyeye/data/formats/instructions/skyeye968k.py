"""SkyEye-968k as published: a tree of LLaVA-style JSON files, annotations only. Any other such file is read as well.

What a record may look like is in :mod:`skyeye.data.formats.instructions.llava`; this file knows the tree: which data
set, task and image folder each annotation file of the release refers to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup
from skyeye.data.formats.base.json_lists import ELSEWHERE, iter_json_list
from skyeye.data.formats.base.problems import BadRecord, Problem
from skyeye.data.formats.instructions.llava import parse_llava
from skyeye.data.formats.instructions.plain import plain_record
from skyeye.data.record import Record
from skyeye.data.tasks import check_task


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

#: Folder of the published tree, in small letters without signs, -> task of records without a tag. Phrase grounding is
#: asked with ``[detection]`` in the paper's figure ("[detection] The three airplanes").
FOLDER_TASKS = {
    "caption": "caption",
    "captioning": "caption",
    "vqa": "vqa",
    "vg": "refer",
    "visualgrounding": "refer",
    "phrasegrounding": "detection",
    "multitaskconversation": "conversation",
    "conversation": "conversation",
}
IN_PARTS = True  # several processes may read a list
#: What is read of a record; other fields are told once per file.
FIELDS = frozenset({"id", "image", "images", "conversations", "messages", "system", "text", "ground_truth", "answer"})


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    source: str | None = None,
    task: str | None = None,
    strict_tags: bool = False,
) -> Iterator[Record | Problem]:
    """Records of one JSON file, or of every ``*.json`` below a folder (the published tree); a list element
    is the unit.

    Fields of the records that nothing reads are told once per file, as a remark.

    Args:
        path: file or folder.
        images: folder that holds the images, directly or in the folders named by the release; default: beside the file.
        split: keep only this split; the split is the last word of the file's name (``_train``, ``_val``, ``_test``),
            else train.
        source: name of the data set; default: the published name of the file, else the file's name.
        task: what records without a tag ask; default: from the file's name and folder.
        strict_tags: see :func:`~skyeye.data.formats.instructions.llava.parse_llava`.
    """
    path = Path(path)
    if task is not None:
        check_task(task, "options.task")
    files = annotation_files(path, "**/*.json") if path.is_dir() else [path]
    folders: dict[Path, ImageFolder] = {}  # an image folder is listed once, however many files refer to it
    for file in files:
        file_split = split_of(file)
        if split is not None and file_split != split:
            continue
        published = published_as(file)
        root = Path(images.root or (path if path.is_dir() else path.parent))
        hinted = root / published.images if published else root
        folder = hinted if hinted.is_dir() else root
        finder = folders.setdefault(folder, ImageFolder(folder, keep_absent=images.keep_absent))
        about = source or (published.source if published else file.stem), file_split, task or task_of(file)
        yield from _records(file, *about, finder, strict_tags)


def _records(
    file: Path, source: str, split: str, task: str | None, folder: ImageFolder, strict_tags: bool
) -> Iterator[Record | Problem]:
    unread: Counter[str] = Counter()
    name, stem = str(file), file.stem
    for index, item in enumerate(iter_json_list(file)):
        if item is ELSEWHERE:
            continue
        where, id = f"{name}, record {index}", f"{stem}:{index}"
        if isinstance(item, dict) and not FIELDS.issuperset(item):
            unread.update(set(item) - FIELDS)
        try:
            yield plain_record(item, where, id, source, split, task, folder.find) or parse_llava(
                item, where, id=id, source=source, split=split, task=task, find_image=folder.find,
                strict_tags=strict_tags,
            )  # fmt: skip
        except BadRecord as error:
            yield error.problem()
    for field, records in sorted(unread.items()):
        yield Problem("unknown field", name, f"{records} records have a field {field[:60]!r}", True, count=0)


def published_as(file: Path) -> Published | None:
    """What the release says about a file of this name, in capitals or not, with other signs between the words."""
    return _BY_WORDS.get(_words(file.stem))


def split_of(file: Path) -> str:
    """``caption_RSICD_test.json`` -> ``"test"``; files without such an ending are training data."""
    ending = re.split(r"[_.-]", file.stem.lower())[-1]
    return ending if ending in ("train", "val", "test") else "train"


def task_of(file: Path) -> str | None:
    """What an annotation file of the published tree asks, from its name or its folder; None: not known."""
    published = published_as(file)
    return published.task if published else FOLDER_TASKS.get(_words(file.parent.name))


def _words(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


_BY_WORDS = {_words(name): entry for name, entry in PUBLISHED.items()}
_BY_WORDS["eravqa"] = _BY_WORDS["earvqa"]  # the release misspells it; those who rename it are understood
