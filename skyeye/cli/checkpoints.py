"""Arguments of the commands that open a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skyeye.cli.paths import any_path
from skyeye.serve.opening import to_open

if TYPE_CHECKING:
    from skyeye.generation.opening import Opening

CHECKPOINT = (
    "folder written by training, a file of the reference (.pth, with --base), a folder of another project, or a"
    " downloaded name of the hub"
)
#: Precisions of ``--dtype``.
DTYPES = ("auto", "bf16", "fp16", "fp32", "int8", "int4")


def checkpoint_arguments(
    parser: argparse.ArgumentParser,
    kind: Callable[[str], object] = any_path,
    others: str = "",
    option: str | None = None,
) -> None:
    """``CHECKPOINT``, ``--weights``, ``--base``, ``--resize``, ``--dtype``, ``--keep-adapters``, ``--device``.

    Args:
        kind: ``type=`` of ``CHECKPOINT``.
        others: what else it may be, for the help.
        option: name of an option that takes the place of ``CHECKPOINT``.
    """
    named = f"{CHECKPOINT}; or, with --weights, a name of skyeye models list" + (f"; or {others}" if others else "")
    if option is None:
        parser.add_argument("checkpoint", type=kind, metavar="CHECKPOINT", help=named)
    else:
        parser.add_argument(option, dest="checkpoint", type=kind, required=True, metavar="CHECKPOINT", help=named)
    parser.add_argument("--weights", type=any_path, metavar="FOLDER", help="published files of the model that is named")
    parser.add_argument(
        "--resize",
        choices=("stretch", "pad", "crop"),
        help="make pictures square in another way than in training; GeoChat's published scores are of crop",
    )
    parser.add_argument(
        "--base", type=any_path, metavar="RECIPE", help="recipe, or checkpoint folder, that has the frozen parts"
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="auto",
        help="precision of tower and language model (default auto: fp32 below 1 GB, else what computes fastest here);"
        " int8 and int4: of the linear layers of the language model",
    )
    parser.add_argument(
        "--keep-adapters", action="store_true", help="leave adapters beside their weights instead of adding them"
    )
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda ...; default: a GPU where there is one")


def opened_as(options: argparse.Namespace) -> tuple[str | Path, Opening]:
    """The checkpoint that the arguments of :func:`checkpoint_arguments` name, and how it is opened.

    Raises:
        SkyEyeError: a model is named that is not in the list, or without its files.
    """
    return to_open(
        options.checkpoint,
        weights=options.weights,
        base=options.base,
        dtype=options.dtype,
        device=options.device,
        keep_adapters=options.keep_adapters,
        resize=options.resize,
    )


def family_of(model: str | None) -> str | None:
    """The family of a model of the list, for the loader of published files.

    Raises:
        SkyEyeError: there is no such model.
    """
    from skyeye.config.catalogue import find_model

    return None if model is None else find_model(model).family
