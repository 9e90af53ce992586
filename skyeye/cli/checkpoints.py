"""Arguments of the commands that open a checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skyeye.cli.paths import any_path, new_place
from skyeye.errors import SkyEyeError
from skyeye.serve.opening import base_of, to_open

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


def export_command(commands: argparse._SubParsersAction, command: Callable) -> None:
    """Insert ``export CHECKPOINT OUT``."""
    export = command(commands, "export", _export, "write a checkpoint as a folder that needs no base beside it")
    export.add_argument("checkpoint", type=any_path, metavar="CHECKPOINT", help=CHECKPOINT)
    export.add_argument("out", type=new_place, metavar="OUT", help="folder to make")
    export.add_argument("--base", type=any_path, metavar="RECIPE", help="recipe or folder that has the frozen parts")
    export.add_argument("--model", metavar="NAME", help="CHECKPOINT holds this model of skyeye models list")
    export.add_argument("--merged", action="store_true", help="add the adapters to their weights, in float32")
    export.add_argument("--dtype", choices=DTYPES[1:], default="bf16", help="precision to write (default bf16)")


def _export(options: argparse.Namespace) -> int:
    from skyeye.models.precision import DTYPES as PRECISIONS
    from skyeye.models.save import export_checkpoint

    if options.dtype not in PRECISIONS:
        remedy = "export in bf16, and open the export with --dtype " + options.dtype
        raise SkyEyeError(f"{options.dtype} is for asking a model, not for writing it", where="--dtype", remedy=remedy)
    precision = PRECISIONS[options.dtype]
    base, family = base_of(options.base), family_of(options.model)
    export_checkpoint(
        options.checkpoint,
        options.out,
        base=base,
        precision=precision,
        keep_adapters=not options.merged,
        family=family,
    )
    print(f"written: {options.out}")
    return 0
