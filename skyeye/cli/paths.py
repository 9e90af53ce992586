"""``type=`` of the arguments that are paths: ``~`` and ``$NAME`` are expanded; a place to write to is tried at once."""

from __future__ import annotations

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


def new_file(text: str) -> Path:
    """A file that will be written.

    Raises:
        SkyEyeError: that is not possible.
    """
    check_new_file(place := any_path(text))
    return place


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
