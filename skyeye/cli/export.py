"""``skyeye export CHECKPOINT OUT`` and ``skyeye export verify FOLDER``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from skyeye.cli.checkpoints import CHECKPOINT, family_of
from skyeye.cli.loading import hide_loading_bars
from skyeye.cli.paths import any_path, new_place
from skyeye.errors import SkyEyeError
from skyeye.serve.opening import base_of

#: Second words of ``skyeye export``; anything else there is a checkpoint.
VERBS = ("verify",)
_FAILED = 1


def export_commands(commands: argparse._SubParsersAction, command: Callable) -> None:
    """Insert ``export CHECKPOINT OUT`` and ``export verify``."""
    export = command(
        commands, "export", _export, "write a checkpoint as a folder to hand on, with a card and checksums"
    )
    export.add_argument("checkpoint", type=any_path, metavar="CHECKPOINT", help=CHECKPOINT)
    export.add_argument("out", type=new_place, metavar="OUT", help="folder to make")
    export.add_argument("--base", type=any_path, metavar="RECIPE", help="recipe or folder that has the frozen parts")
    export.add_argument("--model", metavar="NAME", help="CHECKPOINT holds this model of skyeye models list")
    export.add_argument(
        "--format",
        choices=("skyeye", "peft", "minigpt_v2", "llava"),
        default="skyeye",
        help="skyeye (default): needs no base beside it; peft: what was trained, and the name of its base;"
        " minigpt_v2: the reference's file; llava: transformers' LlavaForConditionalGeneration",
    )
    export.add_argument("--merged", action="store_true", help="add the adapters to their weights, in float32")
    export.add_argument(
        "--dtype", choices=("bf16", "fp16", "fp32"), default="bf16", help="precision to write (default bf16)"
    )
    export.add_argument(
        "--quantize",
        choices=("int8", "int4"),
        help="write the linear layers of the language model so, adapters merged: to be asked and nothing else",
    )
    export.add_argument(
        "--scores", type=any_path, metavar="FILE", help="scores.json for the card; default: that beside CHECKPOINT"
    )
    export.add_argument("--licence", metavar="ID", help="the hub's name of the licence of the whole, e.g. apache-2.0")

    verify = command(commands, "export verify", _verify, "whether an export is whole, private and answers as it should")
    verify.add_argument("folder", type=any_path, metavar="FOLDER", help="folder that skyeye export wrote")
    verify.add_argument("--against", type=any_path, metavar="CHECKPOINT", help="what it was made of")
    verify.add_argument("--image", type=any_path, action="append", default=[], metavar="FILE", help="ask about it")
    verify.add_argument("--ask", action="append", metavar="QUESTION", help="may be given several times")
    verify.add_argument("--base", type=any_path, metavar="RECIPE", help="recipe or folder that has the frozen parts")
    verify.add_argument("--model", metavar="NAME", help="the checkpoint holds this model of skyeye models list")
    verify.add_argument(
        "--tolerance", type=float, metavar="X", help="largest difference of logits that is called equal (default 0.001)"
    )


def _export(options: argparse.Namespace) -> int:
    from skyeye.serve.export.formats import Exporting, export

    hide_loading_bars()
    how = Exporting(
        form=options.format,
        base=base_of(options.base),
        model=options.model,
        dtype=options.dtype,
        merged=options.merged,
        quantize=options.quantize,
        scores=options.scores,
        licence=options.licence,
    )
    for sentence in export(options.checkpoint, options.out, how):
        print(sentence)
    print(f"written: {options.out}\nverify it: skyeye export verify {options.out}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from skyeye.serve.export.card import QUESTION
    from skyeye.serve.export.hub import uploaded
    from skyeye.serve.export.verify import TOLERANCE, check_files, compare

    if options.against is not None and not options.image:
        what = "there is nothing to compare answers on"
        raise SkyEyeError(what, where="--against", remedy="name a picture, or several: --image FILE")
    hide_loading_bars()
    wrong = check_files(options.folder)
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    sizes = uploaded(options.folder)
    state = f"{len(wrong)} wrong" if wrong else "sound"
    print(f"{len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB: {state}")
    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    asked = compare(
        options.folder,
        options.against,
        options.image,
        options.ask or (QUESTION,),
        base_of(options.base),
        family_of(options.model),
    )
    failed = bool(wrong)
    for each in asked if options.image else ():
        failed |= not each.agrees(tolerance)
        print(f"{each.image}: {each.question}\n  {each.answer}")
        if each.difference is not None:
            same = "the same answer" if each.answer == each.expected else f"ANOTHER ANSWER than: {each.expected}"
            print(f"  {same}; logits differ by at most {each.difference:.2g} (allowed: {tolerance:.2g})")
    print("not as it should be" if failed else "as it should be")
    return _FAILED if failed else 0
