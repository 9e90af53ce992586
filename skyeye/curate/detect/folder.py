"""Which published formats lie in a folder, told from names and a cheap look into the files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyeye.config.schema import SourceConfig
from skyeye.curate.detect.sniff import head, sniff_format
from skyeye.curate.detect.tree import ANNOTATIONS, Tree, is_image
from skyeye.data.formats.base.image_folder import IMAGE_SUFFIXES
from skyeye.data.formats.base.splits import SPLITS, Splits, normal_split, split_in
from skyeye.data.formats.captions import rsitmd
from skyeye.data.formats.detection import nwpu_vhr10, voc
from skyeye.data.formats.generic.synthetic import REGIONS
from skyeye.data.formats.instructions import llama_factory
from skyeye.data.formats.instructions.skyeye968k import FOLDER_TASKS, published_as
from skyeye.data.formats.vqa import rsivqa, rsvqa
from skyeye.errors import SkyEyeError

Proposal = tuple[str, SourceConfig]


@dataclass(frozen=True)
class Detected:
    """What lies in a folder.

    Attributes:
        sources: each with a name, ready to be read or checked.
        unknown: files that look like annotations and fit no known format.
    """

    sources: list[Proposal]
    unknown: list[Path]


_NO_ANNOTATION = re.compile(r"(?:read_?me|licen[cs]e|classes|requirements|notice).*", re.IGNORECASE)
#: Format of label files -> names of the folder they lie in below the ``path`` that its reader expects.
LABEL_FOLDERS = {
    "dota": ("labelTxt",),
    "yolo": ("labels",),
    "nwpu_vhr10": nwpu_vhr10.FOLDERS,
    "voc": voc.FOLDERS,
    "fair1m": voc.FOLDERS,
    "dior_rsvg": voc.FOLDERS,
}
_SAMPLE = 12  # files of one ending that are looked at in a folder; the rest is taken to be like them
_MANY = 60
_LOOKED_FOR = (
    "SkyEye-968k, LLaVA-style lists, LLaMA-Factory, image folders, synthetic scenes, shards, JSON lines, WebDataset "
    "tar files; captions (RSICD, UCM, Sydney, RSITMD, NWPU, CapERA); questions (RSVQA, RSIVQA); expressions (RSVG, "
    "DIOR-RSVG); boxes (DOTA, YOLO, COCO, VOC, FAIR1M, NWPU VHR-10); class folders"
)


def detect_formats(path: str | Path) -> Detected:
    """The sources that a folder or a file holds.

    Annotations without images are recognised too. No source means pictures, and at most annotations of other formats.

    Raises:
        SkyEyeError: nothing is recognised, and there is no picture; the message says what was looked for.
    """
    path = Path(path)
    if not path.exists():
        raise SkyEyeError("no such file or folder", where=str(path), remedy="check the path")
    if path.is_dir():
        tree = _Search(path)
        found, pictures, unknown = tree.proposals(), bool(tree.pictures), tree.unknown()
    else:
        found, pictures, unknown = _one_file(path), path.suffix.lower() in IMAGE_SUFFIXES, []
    if not found and not pictures:
        raise SkyEyeError("nothing known lies here", where=str(path), remedy=f"looked for: {_LOOKED_FOR}")
    return Detected(_named(found, path), unknown)


def _one_file(path: Path) -> list[SourceConfig]:
    if rsitmd.split_of_list(path):
        return [SourceConfig("rsitmd", str(path))]
    if rsvqa.FILE.fullmatch(path.name):
        return [SourceConfig("rsvqa", str(path.parent), split=rsvqa.FILE.fullmatch(path.name)["split"])]
    format = "llama_factory" if path.name == llama_factory.FILE else sniff_format(path)
    if format in LABEL_FOLDERS:
        raise SkyEyeError(f"is one label file ({format})", where=str(path), remedy="give the folder of the data set")
    if format == "llava" and published_as(path):
        format = "skyeye968k"
    return [SourceConfig(format, str(path))] if format else []


class _Search(Tree):
    """The proposals for a tree, and the files that one of them has taken."""

    def __init__(self, root: Path):
        super().__init__(root)
        self.taken: set[Path] = set()

    def proposals(self) -> list[SourceConfig]:
        """Everything that is recognised, in the order of the folders."""
        found: list[SourceConfig] = []
        for folder in list(self.files):
            for source in self._in_folder(folder):
                if source not in found:
                    found.append(source)
        self._follow_captions(found)
        return found

    def unknown(self) -> list[Path]:
        """Files that look like annotations and were taken by none of :meth:`proposals`."""
        rest = [f / n for f, names in self.files.items() for n in names if Path(n).suffix.lower() in ANNOTATIONS]
        return [file for file in rest if file not in self.taken and not _NO_ANNOTATION.fullmatch(file.name)]

    def _in_folder(self, folder: Path) -> Iterator[SourceConfig]:
        yield from self._whole_folders(folder)
        by_format: dict[str, list[Path]] = defaultdict(list)
        for file in self._candidates(folder):
            if format := sniff_format(file):
                by_format[format].append(file)
        for format, files in sorted(by_format.items(), key=lambda entry: (entry[0] in LABEL_FOLDERS, entry[0])):
            files = [file for file in files if file not in self.taken]
            if files:
                yield from self._grouped(format, files, folder)
        if self.holds_classes(folder):
            yield SourceConfig("class_folders", str(folder))

    def _whole_folders(self, folder: Path) -> Iterator[SourceConfig]:
        """Formats that several files with fixed names make up."""
        names = self.files[folder]
        if "index.json" in names and '"skyeye-shards"' in head(folder / "index.json"):
            self._take(folder, lambda name: True)
            yield SourceConfig("shards", str(folder))
        if llama_factory.FILE in names and '"file_name"' in head(folder / llama_factory.FILE):
            info = folder / llama_factory.FILE
            self.taken |= {info, *llama_factory.files_of(info)} & {folder / name for name in names}
            yield SourceConfig("llama_factory", str(info), self.images_for(folder))
        if REGIONS in names:
            self._take(folder, lambda name: name.endswith((".json", ".jsonl")))
            yield SourceConfig("synthetic", str(folder))
        if any(rsvqa.FILE.fullmatch(name) for name in names):
            self._take(folder, lambda name: "_split_" in name or name.startswith("split_"), below=False)
            yield SourceConfig("rsvqa", str(folder), self.images_for(folder))
        if any(rsitmd.split_of_list(folder / name) for name in names):
            self._take(folder, lambda name: name.endswith((rsitmd.NAMES, rsitmd.CAPTIONS)), below=False)
            yield SourceConfig("rsitmd", str(folder), self.images_for(folder))
        yield from self._skyeye_tree(folder)

    def _skyeye_tree(self, folder: Path) -> Iterator[SourceConfig]:
        """The published tree: task folders with files of the published names."""
        below = self.children.get(folder, [])
        tasks = [f for f in below if any(self._is_published(f / name) for name in self.files[f])]
        lists = {f / n for f in tasks for n in self.files[f] if n.lower().endswith(".json")} - self.taken
        if not lists:
            return
        every = {f / n for f in self.below(folder) for n in self.files[f] if n.lower().endswith(".json")}
        # the reader takes every *.json below its path: originals beside the images must not be among them
        for path in [folder] if lists == every else tasks:
            yield SourceConfig("skyeye968k", str(path), self.images_for(folder) if path == folder else str(folder))
        self.taken |= lists

    def _is_published(self, file: Path) -> bool:
        known = file.suffix.lower() == ".json" and published_as(file) is not None
        return known and file.parent.name.lower().replace("_", "") in FOLDER_TASKS

    def _candidates(self, folder: Path) -> list[Path]:
        """Files worth a look; of very many with one ending a sample, which speaks for all."""
        by_ending: dict[str, list[Path]] = defaultdict(list)
        for name in self.files[folder]:
            file = folder / name
            if file.suffix.lower() in ANNOTATIONS and file not in self.taken and not _NO_ANNOTATION.fullmatch(name):
                by_ending[file.suffix.lower()].append(file)
        chosen: list[Path] = []
        for files in by_ending.values():
            step = max(1, len(files) // _SAMPLE) if len(files) > _MANY else 1
            chosen += files[::step]
        return chosen

    def _grouped(self, format: str, files: list[Path], folder: Path) -> Iterator[SourceConfig]:
        """The sources of the files of one format in one folder."""
        images = self.images_for(folder)
        if format in LABEL_FOLDERS:
            self._take(folder, lambda name: name.lower().endswith((".txt", ".xml")), below=False)
            yield self._labels(format, self._set_of(format, folder))
        elif format == "webdataset_pairs":
            self._take(folder, lambda name: name.endswith(".tar"))
            yield SourceConfig(format, str(folder))
        elif format == "rsivqa" and len(files) > 1 and self._is_all(files, folder, rsivqa.NAMES):
            self.taken |= set(files)
            yield SourceConfig(format, str(folder), images)
        elif format == "rsvg" and len(files) > 1 and {f for f in files if split_in(f.name)} == set(files):
            self.taken |= set(files)
            yield SourceConfig(format, str(folder), images)
        else:
            self.taken |= set(files)
            for file in files:
                name = "skyeye968k" if format == "llava" and published_as(file) else format
                yield SourceConfig(name, str(file), images)

    def _labels(self, format: str, path: Path) -> SourceConfig:
        options: dict[str, Any] = {}
        if format == "yolo":
            if (of := normal_split(path.name.lower())) in SPLITS:
                options["splits"] = {of: ["*"]}  # train/labels/...: the reader looks below its path only
            own = [n for n in self.files[path] if n == "classes.txt" or n.endswith((".names", ".yaml", ".yml"))]
            if len(own) != 1 and (names := self._class_names(path)):
                options["names"] = str(names)
        if format == "dior_rsvg" and path in self.files:
            self._take(path, lambda name: name.removesuffix(".txt") in SPLITS, below=False)
        if format == "voc" and path / voc.LISTS in self.files:
            self._take(path / voc.LISTS, lambda name: True)
        images = self.images_for(path)
        return SourceConfig(format, str(path), images, options=options)

    def _set_of(self, format: str, folder: Path) -> Path:
        """The ``path`` of the data set whose label files lie in a folder; never above the root."""
        for place in (folder, *folder.parents):
            for name in LABEL_FOLDERS[format]:
                depth = name.count("/")
                above = place.parents[depth] if len(place.parents) > depth else None
                if above in self.files and place == above / name:
                    return above
        return folder

    def _class_names(self, path: Path) -> Path | None:
        """The file that names the classes: the likeliest in the folder, else above it."""
        while path == self.root or self.root in path.parents:
            for pattern in ("data.ya?ml", "classes.txt", r".*\.names", r".*\.ya?ml"):
                if found := [name for name in self.files.get(path, ()) if re.fullmatch(pattern, name)]:
                    return path / found[0]
            path = path.parent
        return None

    def _is_all(self, files: list[Path], folder: Path, patterns: Iterable[str]) -> bool:
        """Whether the reader, given the folder, would read exactly these files."""
        would = {f / n for f in self.below(folder) for n in self.files[f] for p in patterns if Path(n).match(p)}
        return would == set(files)

    def _take(self, folder: Path, wanted: Any, below: bool = True) -> None:
        for place in self.below(folder) if below else [folder]:
            self.taken |= {place / name for name in self.files[place] if wanted(name)}

    def _follow_captions(self, found: list[SourceConfig]) -> None:
        """Classes and questions about the images of a captions file keep to its split."""
        captions = [source.path for source in found if source.format == "karpathy"]
        for source in found:
            for file in captions:
                near = Path(file).parent in (Path(source.path), *list(Path(source.path).parents)[:2])
                if source.format in ("class_folders", "rsivqa") and near and self._agree(source, file):
                    source.options["split_file"] = file
                    break

    def _agree(self, source: SourceConfig, captions: str) -> bool:
        if source.format == "rsivqa":
            files = [Path(source.path)] if Path(source.path).is_file() else []
            names = [line.split(":")[0].strip() for file in files for line in head(file).splitlines()[:20]]
        else:
            images = (n for f in self.below(Path(source.path)) for n in self.files[f] if is_image(n))
            names = [name for name, _ in zip(images, range(20), strict=False)]
        try:
            rule = Splits(captions)
        except SkyEyeError:
            return False  # what is wrong with that file is said when its captions are read
        return bool(names) and sum(rule.of(name) is not None for name in names) * 2 >= len(names)


def _named(found: list[SourceConfig], root: Path) -> list[Proposal]:
    """A name for each source: its path below the root, with the format where two are alike."""
    words = [_words(Path(source.path), root) for source in found]
    return [
        (word if words.count(word) == 1 else f"{word}_{source.format}", source)
        for word, source in zip(words, found, strict=True)
    ]


def _words(path: Path, root: Path) -> str:
    inside = path.relative_to(root) if path != root and root in path.parents else Path(root.resolve().name)
    return re.sub(r"\W+", "_", inside.with_suffix("").as_posix() if path.is_file() else inside.as_posix()).strip("_")
