"""CapERA: captions of the aerial videos of ERA, five a video.

``{"ERA_caption": [{"video_id": "Baseball_001.mp4", "annotation": {"English_caption": ["...", ...]}}, ...]}``
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from functools import partial
from pathlib import Path, PurePosixPath

from skyeye.data.formats.base.image_folder import (
    ABSENT,
    BESIDE,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    ImageLookup,
    list_images,
)
from skyeye.data.formats.base.noted import note
from skyeye.data.formats.base.problems import BadRecord, Problem, as_text, load_json
from skyeye.data.formats.base.splits import SPLITS, normal_split, split_in
from skyeye.data.formats.captions.base import VIDEO_PROMPTS, caption_records
from skyeye.data.images.frames import count_frames, even_frames, natural_order
from skyeye.data.images.reference import format_reference
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

_FRAME = re.compile(r"(?P<video>.+?)[ _.-]+(?:frame|f)?[ _.-]*\d+", re.IGNORECASE)


def read(
    path: str | Path,
    images: ImageLookup = BESIDE,
    split: str | None = None,
    *,
    frames: int = 1,
    video_length: int | None = None,
) -> Iterator[Record | Problem]:
    """Training videos give one record per caption; the others one record with all captions as references.

    A video is found as single frames (``Baseball_001.jpg``, ``Baseball_001_0024.jpg``, or every image in a folder
    ``Baseball_001``) or, where there are none, as a video file; then the images are references to its frames. ERA names
    its training and test videos alike and parts them by folder (``Tra``, ``Test``): what lies in the folder of another
    split is not looked at. The units are those of :mod:`skyeye.data.formats.captions.base` with a video for an image.

    Args:
        path: the JSON file. With train, val or test in its name it is that split, else train.
        images: folder of the frames or videos; default: the folder of the file.
        split: train, val or test.
        frames: how many frames a record shows, chosen evenly: the middle ones of that many equal stretches. A video of
            fewer frames shows them all.
        video_length: number of frames of every video file; default: counted in each file, which takes PyAV. The videos
            of ERA last 5 seconds at 24 frames a second (Mou et al., ERA, IEEE GRSM 2020).
    """
    path = Path(path)
    for option, value in (("frames", frames), ("video_length", video_length)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise SkyEyeError(f"{option} {value!r} is no number from 1 on", where="options", remedy="e.g. frames: 4")
    videos = load_json(path, dict).get("ERA_caption")
    if not isinstance(videos, list):
        raise SkyEyeError("has no list `ERA_caption`", where=str(path), remedy="check `format:` of this source")
    of = split_in(path.name) or "train"
    if split is not None and of != split:
        return
    finder = _Frames(Path(images.root or path.parent), of, images.keep_absent)
    for index, video in enumerate(videos):
        where = f"{path}, video {index}"
        name = as_text(video.get("video_id")) if isinstance(video, dict) else None
        if name is None:
            yield Problem("not a record", where, "has no video_id")
            continue
        annotation = video.get("annotation")
        captions = annotation.get("English_caption") if isinstance(annotation, dict) else None
        yield from caption_records(
            name,
            captions if isinstance(captions, list) else [],
            partial(finder.find, name, where, frames, video_length),
            key=str(index),
            source="CapERA",
            split=of,
            where=where,
            task="video_caption",
            prompts=VIDEO_PROMPTS,
        )


class _Frames:
    """Frames and videos of one split below a folder, listed once, found by the name of the video.

    No name is joined to a path.
    """

    def __init__(self, root: Path, split: str, keep_absent: bool):
        self.root, self.split, self.keep_absent = root, split, keep_absent
        self._frames: dict[str, list[PurePosixPath]] | None = None
        self._videos: dict[str, list[PurePosixPath]] = {}

    def find(self, name: str, where: str, wanted: int, video_length: int | None) -> tuple[str, ...]:
        if self._frames is None:
            self._frames = self._list_frames()
            for file in self._list(VIDEO_SUFFIXES):
                self._videos.setdefault(_stem(file), []).append(file)
        stem = _stem(PurePosixPath(name.replace("\\", "/")))
        frames, videos = self._frames.get(stem, []), self._videos.get(stem, [])
        one_folder = len({frame.parent for frame in frames}) <= 1
        if not one_folder or (frames and _stem(frames[0]) == stem and len(frames) > 1) or (not frames and videos[1:]):
            first = ", ".join(map(str, (frames or videos)[:2]))
            raise BadRecord("ambiguous image", where, f"video {name!r} could be several: {first} ...")
        if frames:
            return tuple(str(self.root / frames[n]) for n in even_frames(len(frames), wanted))
        if not videos:
            if self.keep_absent:
                return (ABSENT + name,)
            raise BadRecord("missing image", where, f"neither frames nor the video {name!r} are in {self.root}")
        video = str(self.root / videos[0])
        note("picture", video)
        try:
            total = video_length or count_frames(video)
        except SkyEyeError as error:
            raise BadRecord("unreadable video", where, str(error)) from error
        if not total:
            raise BadRecord("unreadable video", where, f"{video} has no frame")
        return tuple(format_reference(video, frame=n) for n in even_frames(total, wanted))

    def _list(self, suffixes: Set[str]) -> list[PurePosixPath]:
        files = list_images(self.root, suffixes)
        own = (None, self.split)
        return [f for f in files if all(_split_of_folder(x) in own for x in (self.root.name, *f.parts[:-1]))]

    def _list_frames(self) -> dict[str, list[PurePosixPath]]:
        """Video -> its frames in order. A single frame of exactly the video's name wins, then a folder of its name."""
        exact: dict[str, list[PurePosixPath]] = {}
        folders: dict[str, list[PurePosixPath]] = {}
        numbered: dict[str, list[PurePosixPath]] = {}
        for file in self._list(IMAGE_SUFFIXES):
            exact.setdefault(_stem(file), []).append(file)
            if len(file.parts) > 1:
                folders.setdefault(file.parts[-2].lower(), []).append(file)
            if match := _FRAME.fullmatch(_stem(file)):
                numbered.setdefault(match["video"], []).append(file)
        found = numbered | folders | exact
        return {video: sorted(frames, key=natural_order) for video, frames in found.items()}


def _stem(file: PurePosixPath) -> str:
    stem = file.stem if file.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES else file.name
    return stem.strip().lower()  # some files of ERA are called "Baseball_001 .mp4"


def _split_of_folder(name: str) -> str | None:
    split = {"tra": "train", "training": "train", "testing": "test"}.get(name.lower(), normal_split(name.lower()))
    return split if split in SPLITS else None
