"""A scene, opened to be asked: where it lies, its windows, and their pixels read ahead of the answers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from skyeye.data.files import file_fingerprint
from skyeye.data.images.georeference import NO_CRS, Georeference, georeference_of
from skyeye.data.images.raster import REMOTE
from skyeye.data.images.reference import add_details, parse_reference
from skyeye.data.images.windowed import View, WindowReader, open_windows
from skyeye.errors import SkyEyeError
from skyeye.serve.scenes.plan import Cutting, Tile, plan


class BadScene(SkyEyeError):
    """One scene cannot be used; a run over many goes on with the next."""


_AHEAD = 2  # chunks that are read before they are needed


@dataclass(frozen=True)
class Scene:
    """A raster and the windows it is asked in.

    Attributes:
        reference: the file or address, with its choice of bands and stretch.
        size: width and height in pixels.
        place: where it lies, or in words why that is not known.
        tiles: its windows.
    """

    reference: str
    size: tuple[int, int]
    place: Georeference | str
    tiles: tuple[Tile, ...]

    @property
    def fingerprint(self) -> str:
        """Changes when the pixels may."""
        path, details = parse_reference(self.reference)
        content = path if path.startswith(REMOTE) else file_fingerprint(Path(path))
        return f"{content} {self.size[0]}x{self.size[1]} {' '.join(f'{k}={v}' for k, v in sorted(details.items()))}"


@dataclass(frozen=True)
class Read:
    """A chunk of windows whose pixels are there.

    Attributes:
        number: of the chunk.
        prepared: (index of the window, what is asked about), of those with data.
        empty: indices of windows without data: every pixel is marked so, or all have one colour.
        unreadable: (index, why).
    """

    number: int
    prepared: list[tuple[int, Any]]
    empty: list[int]
    unreadable: list[tuple[int, str]]


def open_scene(path: str, cutting: Cutting, side: int) -> Scene:
    """The windows of a scene. Its header is read, no pixel.

    Args:
        path: file, or address of a cloud-optimised GeoTIFF.
        side: of the pictures that the model looks at.

    Raises:
        BadScene: unreadable, or the settings make no windows of it.
    """
    try:
        return _opened(path, cutting, side)
    except SkyEyeError as error:
        raise BadScene(error.what, where=error.where, remedy=error.remedy) from error


def _opened(path: str, cutting: Cutting, side: int) -> Scene:
    chosen = {"bands": cutting.bands, "stretch": cutting.stretch}
    reference = add_details(path, **{key: value for key, value in chosen.items() if value is not None})
    with open_windows(reference, remote=True) as reader:
        place = georeference_of(reader.raster, cutting.crs)
        if place == NO_CRS:
            place = f"{place}: --scene-crs gives it one"
        return Scene(reference, reader.size, place, tuple(plan(cutting, reader.size, place, side, path)))


def read_ahead(
    scene: Scene, chunks: Sequence[tuple[int, range]], prepare: Callable[[Image.Image], Any]
) -> Iterator[Read]:
    """The pixels of chunks, in order; a thread reads and prepares the next ones while one is answered.

    Args:
        chunks: (number, indices of its windows).

    Raises:
        BadScene: the scene cannot be opened any more.
    """
    ready: queue.Queue[Read | BaseException | None] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def put(item: Read | BaseException | None) -> bool:
        while not stop.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        try:
            with open_windows(scene.reference, remote=True) as reader:
                for number, indices in chunks:
                    if not put(_read(reader, scene, number, indices, prepare)):
                        return
            put(None)
        except SkyEyeError as error:
            put(BadScene(error.what, where=error.where, remedy=error.remedy))
        except BaseException as error:  # told where the answers are waited for
            put(error)

    with _running(work, stop):
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item


@contextmanager
def _running(work: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work, name="scene reader", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _read(
    reader: WindowReader, scene: Scene, number: int, indices: range, prepare: Callable[[Image.Image], Any]
) -> Read:
    read = Read(number, [], [], [])
    for index in indices:
        tile = scene.tiles[index]
        try:
            view = reader.read(tile.window, tile.every)
        except SkyEyeError as error:
            read.unreadable.append((index, error.what))
            continue
        if _shows_nothing(view):
            read.empty.append(index)
        else:
            read.prepared.append((index, prepare(view.image)))
    return read


def _shows_nothing(view: View) -> bool:
    one_colour = all(low == high for low, high in view.image.getextrema()) and view.image.width * view.image.height > 1
    return view.known == 0 or one_colour
