"""Pictures that visitors give: within limits, and told how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skyeye.data.images.failures import decoding
from skyeye.data.images.load import image_size
from skyeye.data.images.raster import RasterioRaster, knows, open_raster
from skyeye.data.images.reference import format_reference, parse_reference
from skyeye.data.images.stretch import PERCENTILES, overview_stretch, parse_bands, parse_stretch
from skyeye.errors import SkyEyeError
from skyeye.serve.pictures import Shown, show

#: Kinds of files that a folder of examples is searched for.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jp2", ".img", ".pgm", ".ppm")
_PREVIEW = 240


@dataclass(frozen=True)
class Limits:
    """What a visitor may give.

    Attributes:
        bytes: of one file.
        pixels: of one picture.
        images: pictures of one question.
        tokens: of one answer.
    """

    bytes: int = 64 * 2**20
    pixels: int = 100_000_000
    images: int = 8
    tokens: int = 1024


@dataclass(frozen=True)
class Example:
    """A picture to choose, and a small one that a browser can show."""

    file: Path
    preview: Path

    @classmethod
    def of(cls, file: Path, folder: Path) -> Example:
        """The preview is written into ``folder``.

        Raises:
            SkyEyeError: the picture cannot be read.
        """
        image = show(file).image.copy()
        image.thumbnail((_PREVIEW, _PREVIEW))
        preview = folder / f"{file.stem}.png"
        image.save(preview)
        return cls(file, preview)


@dataclass(frozen=True)
class Opened:
    """A picture, and how it is shown, in a line."""

    shown: Shown
    told: str


def open_uploads(files: Sequence[str], limits: Limits, bands: str = "", stretch: str = "") -> list[Opened]:
    """The pictures of files on this machine.

    Args:
        bands, stretch: as in an image reference; empty: as its kind is shown.

    Raises:
        SkyEyeError: too many, too large, or no picture; the file is called by its own name.
    """
    if len(files) > limits.images:
        raise SkyEyeError(f"{len(files)} pictures at once", remedy=f"at most {limits.images}")
    opened = []
    for file in files:
        name = Path(file).name
        try:
            opened.append(_open(file, name, limits, bands.strip(), stretch.strip()))
        except SkyEyeError as error:  # a visitor knows neither the folder nor the commands of this machine
            raise SkyEyeError(error.what, where=name, remedy=error.remedy) from error
    return opened


def _open(file: str, name: str, limits: Limits, bands: str, stretch: str) -> Opened:
    size = Path(file).stat().st_size
    if size > limits.bytes:
        what = f"the file has {size / 2**20:.0f} MiB, more than the {limits.bytes / 2**20:.0f} that this page takes"
        raise SkyEyeError(what, remedy="give a smaller picture, or a part of it")
    width, height = image_size(file)
    if width * height > limits.pixels:
        what = f"the picture has {width} x {height} pixels ({width * height / 1e6:.0f} million), more than the"
        what += f" {limits.pixels / 1e6:.0f} million that this page takes"
        raise SkyEyeError(what, remedy="cut out the part that you ask about")
    reference = format_reference(file, bands=bands or None, stretch=stretch or None)
    shown = show(reference)
    told = [name, f"{shown.image.width} × {shown.image.height} pixels", *_values(reference)]
    told += [] if shown.place is None else [shown.place.crs if len(shown.place.crs) < 20 else "with coordinates"]
    return Opened(Shown(shown.image, shown.place, name), " · ".join(told))


def _values(reference: str) -> list[str]:
    """How the values of more than 8 bits became 8: which bands, and which values are black and white."""
    path, details = parse_reference(reference)
    if not knows(path):
        return []
    with decoding(reference), open_raster(reference) as raster:
        chosen = parse_bands(details.get("bands"), reference)
        stretch = parse_stretch(details.get("stretch"), reference)
        if raster.is_8_bit and stretch is None and chosen is None:
            return [] if raster.count in (1, 3, 4) else [f"bands 1, 2, 3 of {raster.count}"]
        numbers = chosen or ([1, 2, 3] if raster.count >= 3 else [1])
        kind = raster.dataset.dtypes[0] if isinstance(raster, RasterioRaster) else raster.image.mode
        limits = overview_stretch(raster, numbers, stretch) or []
        values = ", ".join(f"{low:.6g}–{high:.6g}" for low, high in limits)
        how = "given" if isinstance(stretch, list) else "percentiles {:g} and {:g}".format(*(stretch or PERCENTILES))
        bands = f"band{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} of {raster.count}, {kind}"
        return [bands, f"black to white: {values} ({how})"] if values else [bands]
