"""From the name of an image in an annotation to the file on disk."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skyeye.data.formats.base.annotation_files import of_macos
from skyeye.data.formats.base.noted import names_below, note
from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.images.frames import count_frames, even_frames, natural_order
from skyeye.data.images.reference import format_reference
from skyeye.errors import SkyEyeError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".img"}
VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".m4v"}
SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES

#: Opens the reference of an image that is not there; no file is ever looked for under it.
ABSENT = "absent:"


@dataclass(frozen=True)
class ImageLookup:
    """How a reader finds the images that its annotations name.

    Attributes:
        root: folder of the images; None: the format knows where they lie beside the annotations.
        keep_absent: a record whose image is not there is no problem, it names ``absent:<image>``. For work on
            annotations alone, such as scoring answers that were given elsewhere.
    """

    root: str | None = None
    keep_absent: bool = False

    def folder(self, default: str | Path, suffixes: Set[str] = frozenset(IMAGE_SUFFIXES)) -> ImageFolder:
        """The images below :attr:`root`, or below ``default`` where there is none."""
        return ImageFolder(self.root or default, suffixes, keep_absent=self.keep_absent)


#: Images where the format expects them; one that is not there is a problem.
BESIDE = ImageLookup()


class ImageFolder:
    """The images below a folder, listed once when the first is asked for.

    Names are looked up in that list and never joined to a path, so no name in an annotation (``../../x``) reaches a
    file outside the folder. An absolute name below the folder is that file; below ``/``, which is never listed, there
    are only absolute names.

    Args:
        root: the folder.
        suffixes: which files count; lower case, with the dot.
        keep_absent: see :class:`ImageLookup`; the folder itself need not be there then.
    """

    def __init__(self, root: str | Path, suffixes: Set[str] = frozenset(IMAGE_SUFFIXES), *, keep_absent: bool = False):
        self.root, self.suffixes, self.keep_absent = Path(root), suffixes, keep_absent
        self._by_stem: dict[str, tuple[str, ...]] | None = None  # tuples: a million are made
        self._found: dict[str, str] = {}  # what `find` found already: a picture has a hundred questions

    def find(self, name: str, where: str) -> str:
        """Path of the one image that ``name`` means: with or without extension, with or without its folder.

        ``name`` and the path below the folder agree when one is the end of the other (``RSICD_images/a.jpg`` and
        ``a.jpg``), so ``train/1.png`` is never taken for ``val/1.png``. The same extension wins over another, more
        agreeing folders over fewer.

        Raises:
            BadRecord: ``missing image``, or ``ambiguous image`` when several files fit equally well.
            SkyEyeError: the folder does not exist.
        """
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self._find(name, where)
        return found

    def _find(self, name: str, where: str) -> str:
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts or ".." in parts:
            raise BadRecord("missing image", where, f"image name {name!r} leaves the image folder {self.root}")
        if os.path.isabs(name) and (file := self._below(name)):
            return file
        whole_disk = self.root.parent == self.root
        best = [] if whole_disk else self._agreeing(name, parts)
        if not best:
            if self.keep_absent:
                return ABSENT + name
            raise BadRecord("missing image", where, f"image {name!r} {self._why_not(name, parts, whole_disk)}")
        if len(best) > 1:
            raise BadRecord("ambiguous image", where, f"image {name!r} is {len(best)} files: {best[0]}, {best[1]} ...")
        return self._path(best[0])

    def _agreeing(self, name: str, parts: list[str]) -> list[str]:
        """The files of the folder whose names agree best with this one."""
        wanted = _key(parts)
        if self._listing().get(wanted[-1]) == (name,):  # as in nearly all data sets
            return [name]
        best: list[str] = []
        best_rank = (0, False, False)
        for candidate in self._listing().get(wanted[-1], ()):
            own = candidate.split("/")
            has = _key(own)
            agree = _common_ending(wanted, has)
            if agree < len(has) and agree < len(wanted):
                continue
            written = own[-agree:] == parts[-agree:]  # two names may differ in capitals alone
            rank = (agree, fold_name(own[-1]) == fold_name(parts[-1]), written)
            if rank > best_rank:
                best, best_rank = [candidate], rank
            elif rank == best_rank:
                best.append(candidate)
        return best

    def _why_not(self, name: str, parts: list[str], whole_disk: bool) -> str:
        if whole_disk:
            return "is not there" if os.path.isabs(name) else "is not absolute, as names below `images: /` have to be"
        if os.path.isabs(name) and os.path.isfile(name):
            outside = "it is outside the folder that this source may read: set `images: /` to allow absolute names"
            return f"is not in {self.root}; {outside}"
        if os.path.isdir(self.root.joinpath(*parts)):  # False for names that no file may have
            return f"is a folder in {self.root}"
        return f"is not in {self.root}"

    def _below(self, name: str) -> str | None:
        """An absolute name of an image below the folder, links followed; None of any other."""
        if os.path.splitext(name)[1].lower() not in self.suffixes or not os.path.isfile(name):
            return None
        root = os.path.realpath(self.root)
        if os.path.commonpath([root, os.path.realpath(name)]) != root:
            return None
        note("picture", name)
        return name

    def find_frames(self, name: str, n: int, where: str) -> tuple[str, ...]:
        """References of ``n`` frames, spread evenly over the video, or over the pictures of the folder, ``name``.

        Raises:
            BadRecord: as :meth:`find`; ``unreadable video``.
        """
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        listed = [PurePosixPath(name) for names in self._listing().values() for name in names]
        frames = [path for path in listed if list(path.parent.parts) == parts]
        frames = sorted((path for path in frames if path.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
        if frames:
            return tuple(self._path(str(frames[index])) for index in even_frames(len(frames), n))
        video = self.find(name, where)
        if video.startswith(ABSENT):
            return (video,)
        if Path(video).suffix.lower() not in VIDEO_SUFFIXES:
            raise BadRecord("unreadable video", where, f"{video} is neither a video nor a folder of pictures")
        note("picture", video)
        try:
            total = count_frames(video)
        except SkyEyeError as error:
            raise BadRecord("unreadable video", where, str(error)) from error
        return tuple(format_reference(video, frame=index) for index in even_frames(total, n))

    def _path(self, name: str) -> str:
        root = str(self.root)  # as pathlib writes it, which takes longer
        return name if root == os.curdir else os.path.join(root, name)

    def _listing(self) -> dict[str, tuple[str, ...]]:
        if self._by_stem is None:
            self._by_stem = {}
            if self.keep_absent and not self.root.is_dir():
                return self._by_stem
            for name in image_names(self.root, self.suffixes):
                stem = _stem(name.rpartition("/")[2])
                self._by_stem[stem] = (*self._by_stem.get(stem, ()), name)
        return self._by_stem


def list_images(root: Path, suffixes: Set[str] = frozenset(IMAGE_SUFFIXES)) -> list[PurePosixPath]:
    """Image files (or those with ``suffixes``) below ``root``, relative to it, sorted.

    Linked folders are followed, a circle of links only once; what macOS leaves beside files is passed over.

    Raises:
        SkyEyeError: ``root`` is not a folder.
    """
    return list(map(PurePosixPath, image_names(root, suffixes)))


def image_names(root: Path, suffixes: Set[str]) -> list[str]:
    """As :func:`list_images`, as text.

    Raises:
        SkyEyeError: ``root`` is not a folder.
    """
    if not root.is_dir():
        what = "is a file, not the folder of the images" if root.exists() else "the image folder does not exist"
        raise SkyEyeError(what, where=str(root), remedy="set `images:` of this source")
    note("names", root, *suffixes)
    return [name for name in names_below(root, suffixes.__contains__) if not of_macos(name)]


def _key(parts: list[str]) -> list[str]:
    """Parts with capitals and composed characters made alike, the last without its image extension."""
    return [*map(fold_name, parts[:-1]), _stem(parts[-1])]


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return fold_name(stem if suffix.lower() in SUFFIXES else name)


def fold_name(name: str) -> str:
    """A file name with capitals and composed characters made alike.

    macOS writes an accent as a character of its own, other systems with its letter.
    """
    return (name if name.isascii() else unicodedata.normalize("NFC", name)).lower()


def _common_ending(a: list[str], b: list[str]) -> int:
    count = 0
    for left, right in zip(reversed(a), reversed(b), strict=False):
        if left != right:
            break
        count += 1
    return count
