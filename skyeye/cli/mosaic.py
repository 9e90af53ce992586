"""``skyeye data mosaic``: a large synthetic scene with coordinates."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from skyeye.cli.paths import new_file
from skyeye.cli.progress import Counter


def mosaic_command(data: argparse._SubParsersAction, command: Callable) -> None:
    """Insert ``data mosaic OUT.tif``."""
    summary = "put a large scene with coordinates together from synthetic pictures, with its objects as a layer"
    mosaic = command(data, "mosaic", _mosaic, summary)
    mosaic.add_argument("out", type=new_file, metavar="OUT", help="GeoTIFF to write; objects go to OUT.truth.geojson")
    mosaic.add_argument("--pictures", type=int, default=8, metavar="N", help="in a row, and rows (default 8)")
    mosaic.add_argument("--size", type=int, default=224, metavar="PIXELS", help="side of a picture (default 224)")
    mosaic.add_argument("--seed", type=int, default=1, metavar="S", help="same seed, same scene (default 1)")
    mosaic.add_argument("--crs", default="EPSG:32633", metavar="CRS", help="coordinate system (default EPSG:32633)")
    mosaic.add_argument(
        "--origin", type=float, nargs=2, default=(500_000.0, 5_300_000.0), metavar=("X", "Y"), help="upper left corner"
    )
    mosaic.add_argument("--pixel", type=float, default=0.5, metavar="UNITS", help="side of a pixel (default 0.5)")
    mosaic.add_argument("--rotation", type=float, default=0.0, metavar="DEGREES", help="of the rows on the map")
    mosaic.add_argument("--bits", type=int, choices=(8, 16), default=8, help="16: four bands, blue to infrared")
    mosaic.add_argument("--border", type=int, default=0, metavar="PIXELS", help="without data on all sides")


def _mosaic(options: argparse.Namespace) -> int:
    from skyeye.synth.mosaic import Mosaic, write_mosaic

    mosaic = Mosaic(
        options.pictures,
        options.size,
        options.seed,
        options.crs,
        tuple(options.origin),
        options.pixel,
        options.rotation,
        options.bits,
        options.border,
    )
    objects = write_mosaic(options.out, mosaic, Counter("drawing"))
    side = mosaic.pictures * mosaic.size
    print(f"{options.out}: {side} x {side} pixels, {len(objects)} objects")
    return 0
