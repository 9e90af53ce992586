"""The command ``skyeye``. Thin: arguments in, one public function called, a mistake answered in one line.

Heavy libraries are imported by the subcommand that needs them, so that help and mistakes come at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from skyeye import __version__
from skyeye.cli.annotate import annotate_command
from skyeye.cli.bench import bench_commands
from skyeye.cli.cache import cache_commands
from skyeye.cli.checkpoints import checkpoint_arguments, family_of, opened_as
from skyeye.cli.data import data_commands
from skyeye.cli.doctor import doctor_command
from skyeye.cli.ending import ended_in_order
from skyeye.cli.eval import VERBS as EVAL_VERBS
from skyeye.cli.eval import eval_commands
from skyeye.cli.export import VERBS as EXPORT_VERBS
from skyeye.cli.export import export_commands
from skyeye.cli.loading import hide_loading_bars
from skyeye.cli.models import models_commands
from skyeye.cli.numbers import positive
from skyeye.cli.paths import any_path, new_folder, new_place, refuse_own_inputs
from skyeye.cli.plan import plan_command
from skyeye.cli.runs import runs_commands
from skyeye.cli.serve import serve_commands
from skyeye.cli.web import web_command
from skyeye.errors import SkyEyeError, of_the_system
from skyeye.serve.opening import base_of

USER_ERROR = 2  # exit code of a mistake that the user can mend; argparse uses the same
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: what follows ``skyeye``; None reads ``sys.argv``.

    Returns:
        The exit code: 0, 2 for a mistake of the user's, 130 after Ctrl-C.
    """
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    try:
        with ended_in_order():
            options = parse(arguments)
            code = options.run(options)
            sys.stdout.flush()  # a full disk behind `> FILE` shows here
            return code
    except (SkyEyeError, OSError, KeyboardInterrupt) as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):  # `skyeye ... | head` has read enough
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (for what the interpreter flushes when it ends)
            return 1
        if isinstance(error, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        print(f"error: {error if isinstance(error, SkyEyeError) else of_the_system(error)}", file=sys.stderr)
        return USER_ERROR


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments -> options; exits with usage on a mistake, as argparse does.

    Raises:
        SkyEyeError: a path names what is no place to read from or to write to.
    """
    parser = build_parser()
    options, rest = parser.parse_known_args(joined(sys.argv[1:] if arguments is None else arguments))
    # argparse takes the overrides in one run only: `train a.yaml --resume seed=3` leaves seed=3 over.
    if hasattr(options, "overrides"):
        options.overrides += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    refuse_own_inputs(options)
    return options


def joined(arguments: Sequence[str]) -> list[str]:
    """``eval list ...`` -> ``"eval list" ...``: argparse knows no command that is followed by a verb or a folder."""
    verbs = {"eval": EVAL_VERBS, "export": EXPORT_VERBS}
    if len(arguments) > 1 and arguments[1] in verbs.get(arguments[0], ()):
        return [f"{arguments[0]} {arguments[1]}", *arguments[2:]]
    return list(arguments)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, one subparser per command."""
    debug = {"action": "store_true", "help": "show the whole traceback of an error"}
    parser = argparse.ArgumentParser(prog="skyeye", description="Train, measure and talk to SkyEyeGPT models.")
    parser.add_argument("--debug", **debug)
    common = argparse.ArgumentParser(add_help=False)  # --debug behind the command, too; not said, it changes nothing
    common.add_argument("--debug", default=argparse.SUPPRESS, **debug)
    parser.add_argument("--version", action="version", version=f"skyeye {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(group: argparse._SubParsersAction, name: str, run: Callable, summary: str) -> argparse.ArgumentParser:
        added = group.add_parser(name, help=summary, description=summary, parents=[common])
        added.set_defaults(run=run)
        return added

    def group(name: str, summary: str) -> argparse._SubParsersAction:
        added = commands.add_parser(name, help=summary, description=summary, parents=[common])
        return added.add_subparsers(title="commands", metavar="COMMAND", required=True)

    data_commands(group, command)
    cache_commands(group, command, _recipe_arguments)
    bench_commands(group, command, _recipe_arguments)
    runs_commands(group, command)
    plan_command(commands, command, _recipe_arguments)
    doctor_command(commands, command)

    train = command(commands, "train", _train, "train a model from a recipe, stage after stage")
    _recipe_arguments(train)
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the run")
    train.add_argument("--quick", action="store_true", help="a tenth of the steps of every stage")
    train.add_argument(
        "--no-cache", action="store_true", help="read the annotations anew and keep no index (run.source_index=false)"
    )

    eval_commands(commands, command)

    _chat_command(commands, command)
    annotate_command(commands, command)
    web_command(commands, command)
    serve_commands(commands, command)
    _checkpoint_commands(group, command)
    export_commands(commands, command)
    models_commands(group, command)

    config = group("config", "look at recipes")
    config_show = command(config, "show", _config_show, "print a recipe as it will be run, every setting written out")
    _recipe_arguments(config_show)
    return parser


def _chat_command(commands: argparse._SubParsersAction, command: Callable) -> None:
    chat = command(commands, "chat", _chat, "ask about a picture, once or in a conversation")
    checkpoint_arguments(chat)
    chat.add_argument("--max-new-tokens", type=positive, default=256, metavar="N", help="longest answer (default 256)")
    chat.add_argument("--image", type=any_path, required=True, metavar="FILE", help="the picture")
    chat.add_argument(
        "--ask", action="append", metavar="QUESTION", help="answer this and stop; may be given several times"
    )
    chat.add_argument(
        "--out",
        type=new_folder,
        default=Path("runs/chat"),
        metavar="DIR",
        help="for pictures with boxes (default runs/chat)",
    )


def _checkpoint_commands(group: Callable, command: Callable) -> None:
    checkpoint = group("checkpoint", "look into checkpoints and convert them")
    show = command(checkpoint, "show", _checkpoint_show, "print what a checkpoint holds, training settings included")
    show.add_argument(
        "file", type=any_path, metavar="FILE", help="file of the reference, or directory written by training"
    )
    diff = command(checkpoint, "diff", _checkpoint_diff, "whether two runs or checkpoints are the same, bit by bit")
    diff.add_argument("first", type=any_path, metavar="A", help="run folder, or directory written by training")
    diff.add_argument("second", type=any_path, metavar="B", help="the same of another run (exit code 1 if they differ)")
    convert = command(checkpoint, "convert", _checkpoint_convert, "between published files and a skyeye directory")
    convert.add_argument(
        "source", type=any_path, metavar="SRC", help="file or folder of another project, or skyeye directory"
    )
    convert.add_argument("target", type=new_place, metavar="DST", help="what to write: a directory, or a .pth file")
    convert.add_argument(
        "--layout",
        choices=("llava", "lhrs", "rsgpt"),
        help="write DST as files of another project (docs/models.md); default: the reference's file",
    )
    convert.add_argument("--model", metavar="NAME", help="SRC holds this model of skyeye models list")
    convert.add_argument(
        "--base", type=any_path, metavar="DIR", help="skyeye directory, or recipe, with the frozen parts"
    )
    convert.add_argument("--everything", action="store_true", help="write the frozen parts into the .pth file, too")


def _recipe_arguments(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    count = {"nargs": "?"} if optional else {}
    parser.add_argument("recipe", type=any_path, metavar="RECIPE", help="YAML file, e.g. configs/tiny.yaml", **count)
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="settings changed, e.g. stages.pretrain.steps=500"
    )


def _train(options: argparse.Namespace) -> int:
    from skyeye.data.preflight import load_recipe_to_run

    overrides = [*options.overrides, *(["run.source_index=false"] if options.no_cache else [])]
    recipe = load_recipe_to_run(options.recipe, overrides)  # a mistake is answered before torch is imported
    evaluator = None
    if recipe.eval.every is not None:
        from skyeye.eval.in_training import InTrainingEval

        evaluator = InTrainingEval(recipe.eval, recipe.run.timeout_minutes)
    from skyeye.train.run import train

    hide_loading_bars()
    finished = train(options.recipe, overrides, resume=options.resume, quick=options.quick, evaluator=evaluator)
    return INTERRUPTED if finished is None else 0


def _chat(options: argparse.Namespace) -> int:
    from skyeye.serve.chat import chat

    hide_loading_bars()
    checkpoint, how = opened_as(options)
    chat(checkpoint, options.image, options.ask, options.out, how, options.max_new_tokens)
    return 0


def _checkpoint_show(options: argparse.Namespace) -> int:
    from skyeye.models.inspection import describe_checkpoint

    print(describe_checkpoint(options.file))
    return 0


def _checkpoint_diff(options: argparse.Namespace) -> int:
    from skyeye.models.difference import first_difference

    difference = first_difference(options.first, options.second)
    print(difference or "identical")
    return 1 if difference else 0


def _checkpoint_convert(options: argparse.Namespace) -> int:
    from skyeye.models.checkpoint import convert

    convert(
        options.source,
        options.target,
        base=base_of(options.base),
        everything=options.everything,
        layout=options.layout,
        family=family_of(options.model),
    )
    print(f"written: {options.target}")
    return 0


def _config_show(options: argparse.Namespace) -> int:
    from skyeye.config.load import load_recipe, recipe_to_yaml

    print(recipe_to_yaml(load_recipe(options.recipe, options.overrides)), end="")
    return 0
