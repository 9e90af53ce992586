"""``skyeye data``: the verbs that make, look at and pack data."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from skyeye.cli.progress import Counter


def data_commands(group: Callable, command: Callable) -> None:
    """Add the group ``data`` to the command line.

    Args:
        group: adds a group of commands: ``group(name, summary)``.
        command: adds a command to it: ``command(group, name, run, summary)``.
    """
    data = group("data", "make data")
    synth = command(data, "synth", _synth, "draw a made world of aerial scenes, with everything asked about them")
    synth.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    synth.add_argument("--images", type=int, required=True, metavar="N", help="number of training images")
    synth.add_argument("--seed", type=int, default=1, metavar="S", help="same seed, same bytes (default 1)")
    synth.add_argument("--held-out", type=int, metavar="N", help="number of test images (default: a tenth)")
    synth.add_argument("--size", type=int, default=224, metavar="PIXELS", help="side of the pictures (default 224)")


def _synth(options: argparse.Namespace) -> int:
    from skyeye.data.synth import write_world

    drawing = Counter("drawing")
    world = write_world(options.out, options.images, options.seed, options.held_out, options.size, progress=drawing)
    state = "is already there" if world["existed"] else "written"
    print(f"{options.out} {state}: {world['images']} training and {world['held_out']} held-out images")
    for file, records in world["counts"].items():
        print(f"  {file}: {records} records")
    return 0
