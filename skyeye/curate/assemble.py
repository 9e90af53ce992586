"""SkyEye-968k from what is on disk: published annotations and image folders become shards, or a list of what lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skyeye.config.schema import SourceConfig
from skyeye.curate.image_search import FolderMatch, find_folders
from skyeye.curate.skyeye968k_table import IMAGE_SETS, TABLE
from skyeye.data.formats.base.image_folder import ImageFolder
from skyeye.data.formats.base.json_lists import iter_json_list
from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.formats.instructions.skyeye968k import published_as
from skyeye.data.shards.pack import pack
from skyeye.errors import SkyEyeError


@dataclass
class _File:
    """An annotation file: its records by the images they name, and what of these is there."""

    stem: str
    source: str
    path: Path | None = None
    folder: str = ""  # as the release names it
    named: Counter[tuple[str, ...]] = field(default_factory=Counter)
    missing: int = 0  # records without their image

    @property
    def records(self) -> int:
        return self.named.total()


def assemble(
    tree: str | Path,
    roots: Sequence[str | Path],
    out: str | Path,
    *,
    allow_missing: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Compare annotations and images with the paper's table, and pack them into shards.

    Args:
        tree: folder of the published annotations; its files are found by their names, wherever they lie below it.
        roots: folders that hold the image sets, anywhere below them, under any name.
        out: folder of the shards.
        allow_missing: pack what is there; otherwise nothing is packed unless everything is.
        settings: of :func:`skyeye.data.shards.pack.pack`.

    Returns:
        ``rows``: for each row of the paper's table the thousands of samples expected, and the records annotated, found
        and missing; ``images``: for each image set its folder, how it was found, and where to get it; ``files``:
        annotation files that are missing, and JSON files that are none of the release; ``complete``; ``shards``: the
        header of the set that was written, or None.

    Raises:
        SkyEyeError: no annotation file of the release, a root that is no folder, a file that is not JSON, or what
            :func:`~skyeye.data.shards.pack.pack` raises.
    """
    files, unknown = _annotations(Path(tree))
    names: dict[str, set[str]] = {}
    for file in files:
        if file.path is not None:
            for item in iter_json_list(file.path):
                file.named[_names(item)] += 1
            names.setdefault(file.folder, set()).update(name for group in file.named for name in group)
    folders = find_folders([Path(root) for root in roots], {hint: known for hint, known in names.items() if known})
    present = {hint: _present(known, folders.get(hint)) for hint, known in names.items()}
    for file in files:
        known = present.get(file.folder, set())
        file.missing = sum(records for group, records in file.named.items() if not known.issuperset(group))
    report: dict[str, Any] = {
        "tree": str(tree),
        "roots": [str(root) for root in roots],
        "rows": _rows(files),
        "images": _images(names, present, folders),
        "files": {"missing": [f"{f.stem}.json" for f in files if f.path is None], "unknown": unknown},
    }
    report["complete"] = not report["files"]["missing"] and not any(row["missing"] for row in report["rows"])
    report["shards"] = None
    sources = {f.source: _source(f, folders) for f in files if f.path is not None and f.missing < f.records}
    if report["complete"] or (allow_missing and sources):
        report["shards"] = pack(sources, out, **settings)
    return report


def format_text(report: dict[str, Any]) -> str:
    """The report as a table for people."""
    lines = [f"{'':18}{'':17}{'paper':>9}{'annotated':>11}{'found':>9}{'missing':>9}"]
    for row in report["rows"]:
        numbers = f"{row['thousands']:8.1f}k{row['annotated']:11}{row['found']:9}{row['missing']:9}"
        lines.append(f"{row['task']:18}{row['source']:17}{numbers}")
    total = {key: sum(row[key] for row in report["rows"]) for key in ("thousands", "annotated", "found", "missing")}
    lines.append(
        f"{'all':18}{'':17}{total['thousands']:8.1f}k{total['annotated']:11}{total['found']:9}{total['missing']:9}\n"
    )
    for images in report["images"]:
        if images["folder"] is None:
            lines.append(f"{images['set']}: MISSING, {images['named']} images; get it from {images['home']}")
        else:
            how = "by its name" if images["by"] == "name" else "by the names of its files"
            lines.append(
                f"{images['set']}: {images['present']} of {images['named']} images in {images['folder']}, {how}"
            )
    lines += [f"annotations MISSING: {name}" for name in report["files"]["missing"]]
    lines += [f"not of the release, left aside: {name}" for name in report["files"]["unknown"]]
    if report["shards"] is None:
        lines.append("\nnot complete, nothing was packed; --allow-missing packs what is there")
    return "\n".join(lines)


def _annotations(tree: Path) -> tuple[list[_File], list[str]]:
    if not tree.is_dir():
        raise SkyEyeError("is not a folder", where=str(tree), remedy="give the folder of the published annotations")
    files = [_File(stem, source) for row in TABLE for stem, source in row.files.items()]
    known = {published_as(Path(f"{file.stem}.json")): file for file in files}
    unknown = []
    for path in sorted(tree.rglob("*.json")):
        published = published_as(path)
        file = known.get(published)
        if file is None or file.path is not None:
            unknown.append(str(path.relative_to(tree)))
        else:
            file.path, file.folder = path, published.images
    if all(file.path is None for file in files):
        raise SkyEyeError(
            "holds none of the annotation files of SkyEye-968k",
            where=str(tree),
            remedy=f"looked for {files[0].stem}.json, {files[1].stem}.json ... anywhere below it",
        )
    return files, unknown


def _names(item: object) -> tuple[str, ...]:
    """Image names of a record in any of its variants; what is wrong with it is told when it is packed."""
    value = item.get("image", item.get("images")) if isinstance(item, dict) else None
    return tuple(str(name) for name in (value if isinstance(value, list) else [value]) if isinstance(name, (str, int)))


def _present(names: set[str], found: FolderMatch | None) -> set[str]:
    """The names for which the folder has exactly one image."""
    if found is None:
        return set()
    finder, present = ImageFolder(found.folder), set()
    for name in names:
        try:
            finder.find(name, "")
            present.add(name)
        except BadRecord:
            continue  # counted as missing; packing lists each record with the reason
    return present


def _rows(files: list[_File]) -> list[dict[str, Any]]:
    rows = []
    for row in TABLE:
        own = [file for file in files if file.stem in row.files]
        annotated, missing = sum(f.records for f in own), sum(f.missing for f in own)
        rows.append(
            {
                "task": row.task,
                "source": row.source,
                "thousands": row.thousands,
                "files": [f"{file.stem}.json" for file in own if file.path is not None],
                "annotated": annotated,
                "found": annotated - missing,
                "missing": missing,
            }
        )
    return rows


def _images(
    names: dict[str, set[str]], present: dict[str, set[str]], folders: dict[str, FolderMatch]
) -> list[dict[str, Any]]:
    listed = []
    for images in IMAGE_SETS:
        found = folders.get(images.folder)
        listed.append(
            {
                "set": images.name,
                "named": len(names.get(images.folder, ())),
                "present": len(present.get(images.folder, ())),
                "folder": str(found.folder) if found else None,
                "by": None if found is None else "name" if found.named else "content",
                "home": images.home,
            }
        )
    return listed


def _source(file: _File, folders: dict[str, FolderMatch]) -> SourceConfig:
    found = folders.get(file.folder)
    images = str(found.folder) if found else str(file.path.parent)
    return SourceConfig("skyeye968k", str(file.path), images)
