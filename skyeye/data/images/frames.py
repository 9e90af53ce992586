"""Frames of videos and of folders: how many there are, which to take, and one of them as a picture.

PyAV reads the videos (``pip install skyeye[video]``). A frame is counted from 0 in the order it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from skyeye.data.file_kind import HEAD, describe_content
from skyeye.data.images.failures import check_is_file
from skyeye.data.images.limits import check_pixels
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    from PIL import Image

# Containers that hold their own pictures: a play list (hls, concat) would name other files and addresses.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,ogg,gif,flv,asf"


def even_frames(total: int, n: int) -> list[int]:
    """Which of ``total`` frames to take so that ``n`` are spread evenly: the middle of each of n equal parts.

    All frames when there are no more than n.
    """
    return list(range(total)) if total <= n else [(2 * i + 1) * total // (2 * n) for i in range(n)]


def natural_order(name: str | PurePath) -> list[tuple[int, int | str]]:
    """Sort key that puts ``frame2`` before ``frame10``."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", str(name)) if part]


def count_frames(path: str) -> int:
    """How many frames a video shows.

    Raises:
        SkyEyeError: missing, no video, damaged, or PyAV is not installed.
    """
    with _open(path) as (container, stream):
        return len(_packets(container, stream))


def frame_size(path: str) -> tuple[int, int]:
    """Width and height of a video's frames in pixels."""
    with _open(path) as (_, stream):
        return stream.width, stream.height


def read_frame(path: str, number: int | str, where: str | None = None) -> Image.Image:
    """Frame ``number`` of a video as RGB of 8 bits.

    Raises:
        SkyEyeError: as :func:`count_frames`; no such frame; frames too large.
    """
    where = where or str(path)
    if not str(number).isdecimal():
        raise SkyEyeError(f"frame {number!r} is not a number from 0", where=where, remedy="e.g. clip.mp4#frame=12")
    with _open(path, where) as (container, stream):
        check_pixels(stream.width, stream.height, where)
        packets = _packets(container, stream)
        if int(number) >= len(packets):
            what = f"there is no frame {number}; the video has {len(packets)}"
            raise SkyEyeError(what, where=where, remedy="frames are counted from 0")
        wanted, _, _ = packets[int(number)]
        # From the last key frame shown before it: the one that is found by the time wanted may be shown later, because
        # containers are searched by the time of decoding. Without times only counting from the start is exact.
        keys = [(shown, decoded) for shown, decoded, key in packets if key and _not_behind(shown, wanted)]
        container.seek(max(keys)[1] if keys else 0, stream=stream)
        for index, frame in enumerate(container.decode(stream)):
            if frame.pts == wanted if wanted is not None else index == int(number):
                return frame.to_image().convert("RGB")
    raise SkyEyeError(f"frame {number} cannot be decoded", where=where, remedy="convert the video again")


def _not_behind(shown: int | None, wanted: int | None) -> bool:
    return shown is not None and wanted is not None and shown <= wanted


def _packets(container: Any, stream: Any) -> list[tuple[int | None, int, bool]]:
    """(time of showing, time of decoding, key frame) of every frame in the order of showing.

    When some packet does not say when it is shown, no time of showing is told.
    """
    found = [
        (packet.pts, packet.pts if packet.dts is None else packet.dts, bool(packet.is_keyframe))
        for packet in container.demux(stream)
        if packet.size and not packet.is_discard
    ]
    if any(shown is None for shown, *_ in found):
        return [(None, 0, False)] * len(found)
    return sorted(found)


@contextmanager
def _open(path: str, where: str | None = None) -> Iterator[tuple[Any, Any]]:
    where = where or str(path)
    try:
        import av
    except ImportError as error:
        raise SkyEyeError("videos are read by PyAV", where=where, remedy="pip install skyeye[video]") from error
    try:
        check_is_file(path, where)
        # a file object and lists of what is allowed: no name or address inside the file is followed
        with (
            open(path, "rb") as file,
            av.open(file, options={"format_whitelist": _FORMATS, "protocol_whitelist": "none"}) as container,
        ):
            streams = [stream for stream in container.streams.video if stream.codec_context is not None]
            if not streams:
                raise SkyEyeError("holds no video that can be decoded", where=where, remedy="convert it with ffmpeg")
            yield container, streams[0]
    except FileNotFoundError as error:
        raise SkyEyeError("the video is missing", where=where, remedy="check the folder of the images") from error
    except SkyEyeError:
        raise
    except Exception as error:  # FFmpeg's own, and what PyAV meets in a damaged stream
        raise _damaged(error, path, where) from error


def _damaged(error: Exception, path: str, where: str) -> SkyEyeError:
    with open(path, "rb") as file:
        described = describe_content(file.read(HEAD))
    if described is not None and described[0] != "a video":
        return SkyEyeError(f"not a video: it is {described[0]}", where=where, remedy="give a video, or fetch it again")
    words = " ".join(str(error).split())[:200]
    return SkyEyeError(
        f"the video is damaged or of an unknown kind: {words}", where=where, remedy="convert it with ffmpeg"
    )
