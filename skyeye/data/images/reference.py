"""How a record names one picture: a path, and behind ``#`` what of the file is meant.

``a.jpg`` is the whole file; ``train-000001.tar#offset=1536&size=40213`` the bytes of one picture in a shard;
``scene.tif#bands=4,3,2&stretch=2,98`` three bands of a GeoTIFF; ``scene.tif#window=0,0,448,448`` a part of it (left,
top, right, bottom in pixels); ``flight.mp4#frame=120`` one frame of a video; ``train.parquet#column=image&row=12`` the
picture in a row of a table, with ``item`` where the column holds several. A reference is an ordinary string: it can be
compared, stored and used as a key wherever a path can.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from skyeye.data.images.tables import image_bytes
from skyeye.errors import SkyEyeError

#: What may stand behind ``#``. A file whose own name ends in ``#...`` without one of these keys is still a plain path.
KEYS = ("offset", "size", "bands", "stretch", "frame", "window", "column", "row", "item")
#: Those that say where the bytes of one picture lie in a file of many.
MEMBER = frozenset({"offset", "size", "column", "row", "item"})
_DETAILS = re.compile(rf"#((?:{'|'.join(KEYS)})=[^&#]*(?:&(?:{'|'.join(KEYS)})=[^&#]*)*)\Z")


def format_reference(path: str | Path, **details: object) -> str:
    """A reference from a path and what of the file is meant; lists are joined by commas, None is left out."""
    unknown = set(details) - set(KEYS)
    if unknown:
        raise ValueError(f"unknown details of an image reference: {', '.join(sorted(unknown))}")
    words = {key: value for key, value in details.items() if value is not None}
    text = "&".join(
        f"{key}={','.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"
        for key, value in words.items()
    )
    return f"{path}#{text}" if text else str(path)


def parse_reference(reference: str | Path) -> tuple[str, dict[str, str]]:
    """A reference -> its path and its details as text."""
    text = str(reference)
    match = _DETAILS.search(text)
    if match is None:
        return text, {}
    return text[: match.start()], dict(part.split("=", 1) for part in match[1].split("&"))


def add_details(reference: str, **details: object) -> str:
    """The reference with further details; those that it already has stay as they are."""
    path, own = parse_reference(reference)
    return format_reference(path, **{**details, **own})


def parse_window(text: str, where: str) -> tuple[int, int, int, int]:
    """``"0,0,448,448"`` -> (left, top, right, bottom).

    Raises:
        SkyEyeError: not four whole numbers of a part that has an area.
    """
    words = text.split(",")
    if len(words) == 4 and all(word.isdecimal() for word in words):
        left, top, right, bottom = map(int, words)
        if left < right and top < bottom:
            return left, top, right, bottom
    raise SkyEyeError(f"window {text!r} is not left,top,right,bottom", where=where, remedy="e.g. window=0,0,448,448")


def read_bytes(reference: str | Path) -> bytes:
    """The bytes of the file or, in a shard or a table, of the member that is meant.

    Raises:
        SkyEyeError: missing, unreadable, or the shard ends before the member does.
    """
    path, details = parse_reference(reference)
    if "row" in details:
        item = int(details["item"]) if "item" in details else None
        return image_bytes(path, unquote(details["column"]), int(details["row"]), item, str(reference))
    try:
        with open(path, "rb") as file:
            if "offset" not in details:
                return file.read()
            size = int(details["size"])
            file.seek(int(details["offset"]))
            content = file.read(size)
    except OSError as error:
        raise SkyEyeError(
            f"cannot be read: {error.strerror or error}", where=path, remedy="check the folder of the images"
        ) from error
    if len(content) != size:
        raise SkyEyeError(
            f"the shard ends {size - len(content)} bytes before this picture does",
            where=str(reference),
            remedy="copy the shard again, or pack it again",
        )
    return content
