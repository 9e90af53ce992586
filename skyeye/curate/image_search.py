"""Which folder holds which image set: told by the names of the files in it; the folder's own name only helps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from skyeye.data.formats.base.image_folder import list_images

#: A folder of another name is taken for a set when of the names asked for and the files there, counted together, so
#: much is in both. Sets whose images are numbered overlap: the 613 of Sydney with the 2,100 of UC Merced by 0.29.
ALIKE = 0.4


@dataclass(frozen=True)
class FolderMatch:
    """A folder for an image set.

    Attributes:
        folder: below one of the roots.
        named: it is called what the release calls it.
        present: how many of the names asked for it holds, folders and extensions aside.
    """

    folder: Path
    named: bool
    present: int


@dataclass
class _Folder:
    files: int = 0
    present: int = 0  # of the names of the set that is looked for
    exact: int = 0  # of these, how many with the extension that the name has, if it has one


def find_folders(roots: Sequence[Path], sets: Mapping[str, set[str]]) -> dict[str, FolderMatch]:
    """The folder of each image set below the roots.

    A folder is judged by the names found below it, and by its own name where it ends as the set's (``rsitmd/images``).
    It serves one set only: the one that it fits best.

    Args:
        sets: folder as the release names it -> names of its images that annotations refer to.

    Raises:
        SkyEyeError: a root is not a folder.
    """
    by_stem: dict[str, list[tuple[int, PurePosixPath]]] = defaultdict(list)
    sizes: dict[tuple[int, PurePosixPath], int] = defaultdict(int)
    for number, root in enumerate(roots):
        for path in list_images(root):
            by_stem[path.stem.lower()].append((number, path))
            for above in path.parents:
                sizes[number, above] += 1
    offers = []
    for hint, names in sets.items():
        for place, folder in _look(names, by_stem, sizes).items():
            named = _ends(roots[place[0]] / place[1], hint)
            alike = folder.exact / (len(names) + folder.files - folder.exact)
            if named or alike >= ALIKE:
                score = folder.present / len(names) + alike / 4 + named / 4
                offers.append((-score, -folder.exact, -len(place[1].parts), str(place[1]), hint, place, named, folder))
    found: dict[str, FolderMatch] = {}
    taken: list[tuple[int, PurePosixPath]] = []
    for *_, hint, place, named, folder in sorted(offers, key=lambda offer: offer[:5]):
        if hint not in found and not any(_overlap(place, other) for other in taken):
            found[hint] = FolderMatch(roots[place[0]] / place[1], named, folder.present)
            taken.append(place)
    return found


def _look(names: set[str], by_stem: Mapping, sizes: Mapping) -> dict[tuple[int, PurePosixPath], _Folder]:
    """Every folder that holds something of the names, directly or further below."""
    folders: dict[tuple[int, PurePosixPath], _Folder] = {}
    for name in names:
        wanted = PurePosixPath(name.replace("\\", "/"))
        here: dict[tuple[int, PurePosixPath], bool] = {}
        files = [*by_stem.get(wanted.stem.lower(), ()), *by_stem.get(wanted.name.lower(), ())]
        for number, path in files:
            exact = wanted.suffix.lower() in ("", path.suffix.lower()) or path.stem.lower() == wanted.name.lower()
            for above in path.parents:
                here[number, above] = here.get((number, above), False) or exact
        for place, exact in here.items():
            folder = folders.setdefault(place, _Folder(sizes[place]))
            folder.present += 1
            folder.exact += exact
    return folders


def _ends(folder: Path, hint: str) -> bool:
    parts = PurePosixPath(hint.lower()).parts
    return tuple(part.lower() for part in folder.resolve().parts[-len(parts) :]) == parts


def _overlap(a: tuple[int, PurePosixPath], b: tuple[int, PurePosixPath]) -> bool:
    return a[0] == b[0] and (a[1] in (b[1], *b[1].parents) or b[1] in a[1].parents)
