"""Paths as people write them: ``~``, ``~name``, ``$NAME`` and ``${NAME}`` mean what they mean to a shell."""

from __future__ import annotations

import os
import re
from typing import Annotated

from skyeye.errors import SkyEyeError

_MARK = "path"
#: The annotation of a setting that is a path. ``typing.get_type_hints`` sees plain text unless it asks for extras.
PathText = Annotated[str, _MARK]
_NAME = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")


def expanded(text: str) -> str:
    """A path with the home folder and the variables of the environment in their places.

    bash itself expands ``~`` at the beginning of a word only: not in ``run.dir=~/x`` or ``--out=~/x``, nor in a file. A
    URL stays as it is, and so does a ``$`` that no name follows. Where a variable is not set, a path that exists as it
    is written is meant.

    Raises:
        SkyEyeError: a variable is not set, or there is no such user.
    """
    if "://" in text:
        return text
    if text.startswith("~"):
        home = os.path.expanduser(text)
        if home.startswith("~"):
            name = text.split("/")[0]
            what = f"{name} is no home folder: there is no user {name[1:]!r}" if name != "~" else "~ is not known here"
            raise SkyEyeError(what, where=text, remedy=f"write ./{text} for a name that begins so, or the whole path")
        text = home
    unset = next((name for match in _NAME.finditer(text) if not os.environ.get(name := match[1] or match[2])), None)
    if unset is None:
        return _NAME.sub(lambda match: os.environ[match[1] or match[2]], text)
    if os.path.lexists(text):
        return text
    raise SkyEyeError(f"${unset} is not set", where=text, remedy=f"export {unset}=..., or write the path itself")


def is_path(kind: object) -> bool:
    """Whether an annotation, read with its extras, is :data:`PathText`, or that or None."""
    arms = getattr(kind, "__args__", ())
    return _MARK in getattr(kind, "__metadata__", ()) or any(_MARK in getattr(arm, "__metadata__", ()) for arm in arms)
