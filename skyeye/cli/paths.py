"""``type=`` of the arguments that are paths: ``~`` and ``$NAME`` are expanded; a place to write to is tried at once."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from skyeye.config.paths import expanded
from skyeye.data.files import check_new_file, check_new_folder
from skyeye.errors import SkyEyeError


def any_path(text: str) -> Path:
    """What is read.

    Raises:
        SkyEyeError: a variable in it is not set.
    """
    return Path(expanded(text))


class NewFile(type(Path())):  # type: ignore[misc]  # the kind of path of this system
    """A path of an argument that will be written, told apart from those that are read."""


def new_file(text: str) -> NewFile:
    """A file that will be written.

    Raises:
        SkyEyeError: that is not possible.
    """
    check_new_file(place := NewFile(expanded(text)))
    return place


def refuse_own_inputs(options: Namespace) -> None:
    """``skyeye data show my.jsonl --out my.jsonl`` would put a page in the place of the annotations.

    Raises:
        SkyEyeError: a file that will be written is one that the command reads.
    """
    values = [value for each in vars(options).values() for value in (each if isinstance(each, list) else [each])]
    paths = [value for value in values if isinstance(value, Path) and value.is_file()]
    for place in (path for path in paths if isinstance(path, NewFile)):
        if any(place.samefile(read) for read in paths if read is not place):
            raise SkyEyeError("is what the command reads, too", where=str(place), remedy="write to another file")


def new_folder(text: str) -> Path:
    """A folder that files will be written to.

    Raises:
        SkyEyeError: that is not possible.
    """
    check_new_folder(place := any_path(text))
    return place


def new_place(text: str) -> Path:
    """A file or a folder that will be made.

    Raises:
        SkyEyeError: that is not possible.
    """
    check_new_folder((place := any_path(text)).parent)
    return place


def check_usual(check: Callable[[Path], None], place: Path) -> None:
    """Try the place that is written to without ``--out``.

    Raises:
        SkyEyeError: that is not possible.
    """
    try:
        check(place)
    except SkyEyeError as error:
        raise SkyEyeError(error.what, where=error.where, remedy="choose another place: --out") from error
