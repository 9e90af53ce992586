"""A cheap look into one annotation file: which format its beginning, and no more than that, speaks for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from skyeye.data.formats.base.encoding import encoding_of
from skyeye.data.formats.base.image_folder import IMAGE_SUFFIXES
from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.formats.detection import nwpu_vhr10
from skyeye.data.formats.generic.webdataset_pairs import CAPTION_SUFFIXES, tar_members
from skyeye.data.formats.grounding import rsvg
from skyeye.data.formats.instructions.layouts import FILE_NAMES
from skyeye.data.images.tables import column_names
from skyeye.data.prompts.uavit import UAVIT_TAGS
from skyeye.errors import SkyEyeError

HEAD = 1 << 16  # bytes looked at
_LINES = 40
_FRACTION = r"-?(?:[01](?:\.\d*)?|\.\d+)(?:e-?\d+)?"
_NUMBER = r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?"
#: Format -> a line of it. Their order does not matter: no line fits two.
_LINE_OF = {
    "dota": re.compile(rf"(?:{_NUMBER}\s+){{8}}[A-Za-z][\w-]*(?:\s+\d)?", re.IGNORECASE),
    "yolo": re.compile(rf"\d{{1,4}}(?:(?:\s+{_FRACTION}){{4}}|(?:\s+{_FRACTION}){{8}})", re.IGNORECASE),
    "nwpu_vhr10": nwpu_vhr10.LINE,
    "rsvg": rsvg.LINE,
    "rsivqa": re.compile(r"[^\s:?]{1,200}\s*:[^?]{3,500}\?.*"),
}
_TAR_IMAGES = {suffix[1:] for suffix in IMAGE_SUFFIXES} | {"img_content"}
_UAVIT = re.compile("|".join(re.escape(tag) for tag in UAVIT_TAGS.values() if tag != "[vqa]"))
_DOTA_HEADERS = ("imagesource:", "gsd:")


def sniff_format(path: Path) -> str | None:
    """The format of one file, None when it is none that is known. Files that cannot be read are none."""
    kinds: dict[str, Callable[[Path], str | None]] = {
        ".json": _json,
        ".txt": _txt,
        ".xml": _xml,
        ".tar": _tar,
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".parquet": _table,
        ".arrow": _table,
    }
    kind = kinds.get(path.suffix.lower())
    return kind(path) if kind else None


def head(path: Path, size: int = HEAD) -> str:
    """The beginning of a file as text; signs that cannot be decoded are replaced. ``""`` when it cannot be read."""
    try:
        if not path.is_file():
            return ""  # a named pipe would keep whoever opens it waiting
        with open(path, "rb") as file:
            content = file.read(size)
        return content.decode(encoding_of(content), "replace").removeprefix("\ufeff")
    except OSError:
        return ""


def _json_lines(path: Path) -> str | None:
    text = head(path)
    if not text.lstrip().startswith("{"):
        return None
    if _is_uavit(text):
        return "uavit"
    folder = path.name == "metadata.jsonl" and any(_has(key, text) for key in FILE_NAMES)  # of Hugging Face
    return "llava" if folder or _has("conversations", text) or _has("messages", text) else "jsonl"


def _json(path: Path) -> str | None:
    text = head(path)
    has = {key for key in _JSON_KEYS if _has(key, text)}
    instructions = {"conversations", "messages", "text", "conv"} & has or {"question", "answer", "img"} <= has
    if text.lstrip().startswith("["):
        return "uavit" if _is_uavit(text) else "llava" if instructions else None
    if not text.lstrip().startswith("{"):
        return None
    if "ERA_caption" in has:
        return "capera"
    if {"images", "filename", "split"} <= has:
        return "karpathy"
    if {"filename", "raw"} <= has:
        return "nwpu_captions"
    if {"images", "annotations", "categories"} & has and {"file_name", "bbox", "supercategory"} & has:
        return "coco"
    return "llava" if "data" in has and instructions else None


def _table(path: Path) -> str | None:
    """A table of Hugging Face, by the names of its columns; without pyarrow who reads it says what is missing."""
    try:
        names = set(column_names(str(path)))
    except SkyEyeError as error:
        return "llava" if "pyarrow" in error.what else None
    if "multi-choice options" in names:
        return "xlrs_bench"
    said = {"conversations", "messages", "text", "caption", "question"}
    return "llava" if names & said and names & {"image", "images"} else None


def _is_uavit(text: str) -> bool:
    """Whether questions open with tags that UAVIT-1M alone has."""
    return _has("conversations", text) and _UAVIT.search(text) is not None


def _has(key: str, text: str) -> bool:
    return re.search(rf'"{key}"\s*:', text) is not None


_JSON_KEYS = (
    *("conversations", "messages", "text", "conv", "question", "answer", "img", "data"),
    *("ERA_caption", "filename", "split", "raw"),
    *("images", "annotations", "categories", "file_name", "bbox", "supercategory"),
)


def _txt(path: Path) -> str | None:
    text = head(path)
    lines = text.splitlines()
    if len(text) >= HEAD:
        lines = lines[:-1]  # it is cut
    lines = [line for line in lines if line.strip() and not line.startswith(_DOTA_HEADERS)][:_LINES]
    votes = Counter(name for line in lines for name, form in _LINE_OF.items() if form.fullmatch(line[:2000].strip()))
    best = votes.most_common(1)
    return best[0][0] if best and best[0][1] * 2 > len(lines) else None


def _xml(path: Path) -> str | None:
    text = head(path)
    if "<object" not in text:
        return "voc" if "<annotation" in text else None  # an image without objects
    if "<points>" in text:
        return "fair1m"
    if "<bndbox>" not in text:
        return None
    return "dior_rsvg" if re.search(r"<description>\s*[^<\s]", text) else "voc"


def _tar(path: Path) -> str | None:
    """Pairs of an image and a text of the same name, in the first members."""
    names: dict[str, set[str]] = {}
    try:
        with open(path, "rb") as file:
            for member in islice(tar_members(file, str(path)), 20):
                stem, _, suffix = member.name.rpartition("/")[2].partition(".")
                names.setdefault(stem, set()).add(suffix.lower())
    except (OSError, BadRecord):
        pass  # what is wrong is said when the archive is read; what came before may be enough to know it
    pairs = [s for s in names.values() if s & _TAR_IMAGES and s & set(CAPTION_SUFFIXES)]
    return "webdataset_pairs" if pairs else None
