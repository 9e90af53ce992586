"""UAVIT-1M or UAVBench from what is on disk: rows and the images they name become shards, or a list of what lacks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyeye.config.schema import SourceConfig
from skyeye.curate.image_search import find_folders
from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.image_roots import ImageRoots
from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.formats.instructions.dialects import items_of
from skyeye.data.formats.instructions.uavit import parse_uavit
from skyeye.data.formats.instructions.uavit_scale import UnitScale, clean_path, data_set_of, tag_of, unit_scales
from skyeye.data.geometry.box_text import HUNDREDTHS
from skyeye.data.prompts.uavit import UAVIT_TAGS
from skyeye.data.record import Record
from skyeye.data.shards.pack import pack
from skyeye.errors import SkyEyeError

#: Rows of each set as its page counts them, and the units of the benchmark.
PUBLISHED = {"uavit": 1_240_666, "uavbench": 966_000}
UNITS = 43
_TAG_OF = {task: tag[1:-1] for task, tag in UAVIT_TAGS.items()}


@dataclass
class _Unit:
    """A data set with a tag: its rows by what became of them, and the scale of its boxes."""

    rows: int = 0
    found: int = 0
    missing: int = 0
    broken: int = 0
    repeated: int = 0
    scale: str = "-"


def assemble_uavit(
    tree: str | Path, roots: Sequence[str | Path], out: str | Path, *, allow_missing: bool = False, **settings: Any
) -> dict[str, Any]:
    """Compare rows and images by unit, and pack them into shards.

    Args:
        tree: the file of the rows, or the folder that holds it: a ``.json`` or ``.jsonl`` whose name has UAVIT or
            UAVBench in it.
        roots: folders that hold the image sets, anywhere below them, under any name.
        out: folder of the shards.
        allow_missing: pack what is there; otherwise nothing is packed unless every image is.
        settings: of :func:`skyeye.data.shards.pack.pack`.

    Returns:
        ``rows``: for each unit its rows, those found, without their image, broken and repeated, and the scale of its
        boxes; ``images``: for each data set how many images are named and there, and its folder; ``broken``: kinds
        with the first of each; ``published``: rows that are published; ``complete``; ``shards``: the header of the set
        that was written, or None.

    Raises:
        SkyEyeError: there is no such file, a root is no folder, or what pack raises.
    """
    files = _files(Path(tree))
    names = _names(files)
    folders = find_folders([Path(root) for root in roots], {name: known for name, known in names.items() if name})
    where = {name: str(found.folder) for name, found in folders.items()}
    report: dict[str, Any] = {"tree": str(tree), "roots": [str(root) for root in roots]}
    finder = ImageRoots(where) if where else ImageRoots([])
    present = {name: sum(_is_there(finder, image) for image in known) for name, known in names.items()}
    units, report["broken"] = _counted(files, finder.find)
    report["rows"] = [
        {"data_set": unit.rpartition("/")[0], "tag": unit.rpartition("/")[2], **vars(of)}
        for unit, of in sorted(units.items())
    ]
    report["images"] = [
        {"set": name, "named": len(names[name]), "present": present[name], "folder": where.get(name)}
        for name in sorted(names)
    ]
    kinds = {_kind(file) for file in files}
    report["published"] = sum(PUBLISHED[kind] for kind in kinds)
    report["complete"] = not any(row["missing"] for row in report["rows"])
    report["shards"] = None
    if any(row["found"] for row in report["rows"]) and (report["complete"] or allow_missing):
        sources = {file.stem.lower(): SourceConfig("uavit", str(file), options={"roots": where}) for file in files}
        report["shards"] = pack(sources, out, **settings)
    return report


def format_text(report: dict[str, Any]) -> str:
    """The report as a table for people."""
    head = f"{'data set':24}{'tag':10}{'boxes':>8}{'rows':>10}{'found':>10}{'missing':>9}{'broken':>8}{'repeated':>10}"
    lines = [head]
    counts = ("rows", "found", "missing", "broken", "repeated")
    for row in report["rows"]:
        numbers = f"{row['rows']:10}{row['found']:10}{row['missing']:9}{row['broken']:8}{row['repeated']:10}"
        lines.append(f"{row['data_set'] or '(none)':24}{row['tag']:10}{row['scale']:>8}{numbers}")
    rows, found, missing, broken, repeated = (sum(row[key] for row in report["rows"]) for key in counts)
    lines.append(f"{'all':24}{'':10}{'':8}{rows:10}{found:10}{missing:9}{broken:8}{repeated:10}")
    units = len(report["rows"])
    lines.append(f"{rows:,} rows where {report['published']:,} are published; {units} units (UAVBench has {UNITS})\n")
    for images in report["images"]:
        place = "MISSING" if images["folder"] is None else f"in {images['folder']}"
        lines.append(f"{images['set'] or '(none)'}: {images['present']} of {images['named']} images {place}")
    lines += [f"broken: {count} x {kind}; the first: {first}" for kind, (count, first) in report["broken"].items()]
    if report["shards"] is None:
        lines.append("\nnot complete, nothing was packed; --allow-missing packs what is there")
    return "\n".join(lines)


def _kind(file: Path) -> str | None:
    words = file.stem.lower().replace("-", "").replace("_", "")
    return next((kind for kind in PUBLISHED if kind in words), None)


def _files(tree: Path) -> list[Path]:
    if tree.is_file() and _kind(tree) is not None:
        return [tree]
    if not tree.is_dir():
        remedy = "give the folder that holds it, or the file itself: its name has UAVIT or UAVBench in it"
        raise SkyEyeError("is not a file of UAVIT-1M or UAVBench, and no folder", where=str(tree), remedy=remedy)
    called = "file of UAVIT-1M or UAVBench (.json, .jsonl)"
    return annotation_files(tree, "**/*.json", "**/*.jsonl", fits=_kind, called=called)


def _names(files: Sequence[Path]) -> dict[str, set[str]]:
    """Data set -> the images that rows name, with their paths."""
    names: dict[str, set[str]] = defaultdict(set)
    for file in files:
        for _, item in items_of(file):
            image = clean_path(item.get("image")) if isinstance(item, dict) else ""
            if image:
                names[data_set_of(image)].add(image)
    return dict(names)


def _is_there(finder: ImageRoots, image: str) -> bool:
    try:
        return bool(finder.find(image, ""))
    except BadRecord:
        return False


def _counted(
    files: Sequence[Path], find: Callable[[str, str], str]
) -> tuple[dict[str, _Unit], dict[str, tuple[int, str]]]:
    """What became of each row, by unit; kinds of broken rows with how many and the first."""
    count = _Count()
    for file in files:
        scales = unit_scales(file)

        def scale_of(unit: str, scales: Mapping[str, UnitScale] = scales) -> int | None:
            return scales[unit].scale if unit in scales else HUNDREDTHS

        for where, item in items_of(file):
            try:
                if isinstance(item, BadRecord):
                    raise item
                record = parse_uavit(item, where, id="", split="", find_image=find, scale_of=scale_of)
            except BadRecord as error:
                count.bad(_unit_of(item), error)
            else:
                count.sound(record, scale_of)
    return dict(count.units), count.broken


class _Count:
    """What became of the rows so far."""

    def __init__(self) -> None:
        self.units: dict[str, _Unit] = defaultdict(_Unit)
        self.broken: dict[str, tuple[int, str]] = {}
        self._seen: set[int] = set()

    def bad(self, key: str, error: BadRecord) -> None:
        unit = self.units[key]
        unit.rows += 1
        if error.kind in ("missing image", "ambiguous image"):
            unit.missing += 1
            return
        unit.broken += 1
        unit.scale = "both" if error.kind == "two box scales" else unit.scale
        count, first = self.broken.get(error.kind, (0, str(error)))
        self.broken[error.kind] = count + 1, first

    def sound(self, record: Record, scale_of: Callable[[str], int | None]) -> None:
        key = f"{record.source}/{_TAG_OF.get(record.task, '(none)')}"
        unit = self.units[key]
        unit.rows, unit.found = unit.rows + 1, unit.found + 1
        if any(turn.mentions for turn in record.turns):
            unit.scale = str(scale_of(key))
        said = hash((record.images, tuple((turn.question, turn.answer, turn.mentions) for turn in record.turns)))
        unit.repeated += said in self._seen
        self._seen.add(said)


def _unit_of(item: Any) -> str:
    row = item if isinstance(item, dict) else {}
    return f"{data_set_of(clean_path(row.get('image')))}/{tag_of(str(row.get('conversations'))) or '(none)'}"
