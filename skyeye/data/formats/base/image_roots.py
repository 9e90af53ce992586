"""Images of a set that was put together from many others: below several folders, by the ends of their paths."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from skyeye.data.formats.base.image_folder import ABSENT, ImageFolder, fold_name
from skyeye.data.formats.base.problems import BadRecord


class ImageRoots:
    """The images below several folders.

    An image is found in a folder as :class:`~skyeye.data.formats.base.image_folder.ImageFolder` finds it. Of several
    folders the one whose own path goes on with that of the annotation wins: ``ERA/train/a.jpg`` is
    ``/data/ERA/train/a.jpg`` and not ``/data/other/train/a.jpg``.

    Args:
        roots: the folders; or the folder of each data set, by the first part of the paths in the annotation.
        keep_absent: an image that is not there is named ``absent:<image>`` instead of being a problem.
    """

    def __init__(self, roots: Sequence[str] | Mapping[str, str], *, keep_absent: bool = False):
        self.keep_absent = keep_absent
        named = roots if isinstance(roots, Mapping) else {}
        self._of_set = {fold_name(name): ImageFolder(folder) for name, folder in named.items()}
        self._folders = [] if named else [ImageFolder(folder) for folder in roots]
        self._found: dict[str, str] = {}

    def find(self, name: str, where: str) -> str:
        """Path of the one image that ``name`` means.

        Raises:
            BadRecord: ``missing image``, or ``ambiguous image`` where several files fit equally well.
            SkyEyeError: a folder does not exist.
        """
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = self._find(name, where)
        return found

    def _find(self, name: str, where: str) -> str:
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if self._of_set:
            offers = self._below_its_set(parts, where)
        else:
            offers = [path for folder in self._folders for path in _tried(folder, name, where)]
        best = _best(list(dict.fromkeys(offers)), parts)
        if len(best) == 1:
            return best[0]
        if best:
            raise BadRecord("ambiguous image", where, f"image {name!r} is {len(best)} files: {best[0]}, {best[1]} ...")
        if self.keep_absent:
            return ABSENT + name
        raise BadRecord("missing image", where, f"image {name!r} is {self._searched(name, parts)}")

    def _below_its_set(self, parts: list[str], where: str) -> list[str]:
        """In the folder of its data set, whose name may or may not be a part of the paths there."""
        folder = self._of_set.get(fold_name(parts[0])) if parts else None
        if folder is None:
            return []
        whole = _tried(folder, "/".join(parts), where)
        return whole or _tried(folder, "/".join(parts[1:]), where)

    def _searched(self, name: str, parts: list[str]) -> str:
        if not self._of_set:
            return f"in none of the folders {', '.join(str(folder.root) for folder in self._folders)}"
        folder = self._of_set.get(fold_name(parts[0])) if parts else None
        return (
            f"in no folder: none is given for {parts[0] if parts else ''}"
            if folder is None
            else f"not there in {folder.root}"
        )


def _tried(folder: ImageFolder, name: str, where: str) -> list[str]:
    try:
        return [folder.find(name, where)] if name else []
    except BadRecord as error:
        if error.kind == "ambiguous image":
            raise
        return []


def _best(paths: list[str], parts: list[str]) -> list[str]:
    """The paths that agree longest with the name, from the end."""
    if len(paths) < 2:
        return paths
    wanted = [fold_name(part) for part in parts]
    ranks = [_agreeing([fold_name(part) for part in os.path.abspath(path).split("/")], wanted) for path in paths]
    return [path for path, rank in zip(paths, ranks, strict=True) if rank == max(ranks)]


def _agreeing(path: list[str], wanted: list[str]) -> int:
    """Parts that agree before the file name, which does in any case (its extension may differ)."""
    pairs = zip(reversed(path[:-1]), reversed(wanted[:-1]), strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(path), len(wanted)) - 1)
