"""``skyeye annotate``: scenes with coordinates become layers of a map."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyeye.cli.checkpoints import checkpoint_arguments, opened_as
from skyeye.cli.loading import hide_loading_bars
from skyeye.cli.numbers import positive
from skyeye.cli.paths import any_path
from skyeye.errors import SkyEyeError

if TYPE_CHECKING:
    from skyeye.serve.scenes.annotate import Asking, Job
    from skyeye.serve.scenes.plan import Cutting

ENDINGS = (".geojson", ".gpkg", ".csv", ".coco.json", ".png", ".jpg", ".html", ".json")


class _Ask(argparse.Action):
    """``--ask QUESTION`` and, for the question before it, ``--if CONDITION``."""

    def __call__(self, parser: Any, options: Any, value: Any, option: str | None = None) -> None:
        asked = list(getattr(options, "ask", None) or [])
        if option == "--ask":
            asked.append((value, None))
        elif not asked or asked[-1][1] is not None:
            parser.error("--if follows the --ask whose boxes depend on it, once")
        else:
            asked[-1] = (asked[-1][0], value)
        options.ask = asked


def annotate_command(commands: argparse._SubParsersAction, command: Callable) -> None:
    """Insert ``annotate SCENE --model CHECKPOINT --ask QUESTION --out FILE``."""
    summary = "ask about every window of a scene, or of thousands, and write a layer of what is found"
    annotate = command(commands, "annotate", _annotate, summary)
    scene_arguments(annotate)
    annotate.add_argument("--out", required=True, action="append", metavar="PLACE", help=f"file ({' '.join(ENDINGS)}; "
                          "may be given several times) for one scene, or folder")  # fmt: skip
    annotate.add_argument("--formats", nargs="+", choices=ENDINGS, default=[".geojson"], metavar="ENDING",
                          help="what is written into a folder for each scene (default .geojson)")  # fmt: skip
    annotate.add_argument("--crs", default="EPSG:4326", metavar="CRS", help="of what is written: default EPSG:4326; "
                          "source: that of the scene; any other, e.g. EPSG:3035")  # fmt: skip
    annotate.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: on a cluster, by Ray Data")
    annotate.add_argument("--replicas", type=positive, default=None, metavar="N",
                          help="copies of the model under --engine ray (default: one for each GPU)")  # fmt: skip

    compare = command(commands, "compare-layers", _compare, "hold a layer against the truth: recall and precision")
    compare.add_argument("found", type=any_path, metavar="FOUND", help="layer of skyeye annotate, or any other")
    compare.add_argument("truth", type=any_path, metavar="TRUTH", help="layer with the true objects")
    compare.add_argument("--iou", type=float, default=0.5, metavar="X", help="least overlap of a pair (default 0.5)")
    compare.add_argument("--column", default="label", metavar="NAME", help="of the label in both (default label)")


def scene_arguments(parser: argparse.ArgumentParser) -> None:
    """What is asked of which scenes, by which model."""
    parser.add_argument("scene", metavar="SCENE", help="GeoTIFF or other raster, folder, .txt with one in each line, "
                        "or http(s) address of a cloud-optimised GeoTIFF")  # fmt: skip
    checkpoint_arguments(parser, option="--model")
    parser.add_argument("--ask", action=_Ask, required=True, metavar="QUESTION",
                        help='e.g. "[detection] planes"; several times for several questions')  # fmt: skip
    parser.add_argument("--if", dest="ask", action=_Ask, metavar="QUESTION",
                        help="boxes of the question before count only where this is answered with yes")  # fmt: skip
    parser.add_argument("--tile", metavar="LENGTH", help="side of a window in pixels, or metres: 200m "
                        "(default: what the model looks at)")  # fmt: skip
    parser.add_argument("--overlap", metavar="LENGTH", help="of windows (default a quarter); objects larger than it "
                        "are put together from parts")  # fmt: skip
    parser.add_argument("--scales", nargs="+", type=float, default=[1.0], metavar="X",
                        help="further sides of windows, in sides of --tile, e.g. 1 2 4")  # fmt: skip
    parser.add_argument(
        "--bands", metavar="B", help="one or three, e.g. 4,3,2 (default: the first three, or the first)"
    )
    parser.add_argument("--stretch", metavar="S", help="black and white: 2,98 per cent, or abs:0..3000")
    parser.add_argument("--scene-crs", metavar="CRS", help="of scenes that state none")
    parser.add_argument("--iou", type=float, default=0.5, metavar="X", help="overlap of two boxes of one object (0.5)")
    parser.add_argument("--min-score", type=float, default=0.0, metavar="X",
                        help="least certainty of an answer whose boxes count (default 0)")  # fmt: skip
    parser.add_argument("--min-support", type=float, default=0.5, metavar="X", help="share of the windows that show an "
                        "object whole which must have found it (default 0.5)")  # fmt: skip
    parser.add_argument(
        "--together", type=positive, default=16, metavar="N", help="windows asked together (default 16)"
    )
    parser.add_argument(
        "--max-new-tokens", type=positive, default=256, metavar="N", help="longest answer (default 256)"
    )


def _compare(options: argparse.Namespace) -> int:
    from skyeye.serve.scenes.compare import compare_layers, format_text

    print(format_text(compare_layers(options.found, options.truth, options.iou, options.column)))
    return 0


def asking_of(options: argparse.Namespace) -> Asking:
    """What the arguments of :func:`scene_arguments` ask.

    Raises:
        SkyEyeError: a value makes no sense.
    """
    from skyeye.serve.scenes.annotate import Asking
    from skyeye.serve.scenes.findings import Rules
    from skyeye.serve.scenes.questions import parse_question

    for name in ("iou", "min_score", "min_support"):
        if not 0 <= getattr(options, name) <= 1:
            raise SkyEyeError(f"{getattr(options, name)} is not between 0 and 1", where=f"--{name.replace('_', '-')}")
    questions = tuple(parse_question(text, condition) for text, condition in options.ask)
    rules = Rules(options.iou, options.min_score, options.min_support)
    return Asking(questions, _cutting(options), rules, options.together)


def _cutting(options: argparse.Namespace) -> Cutting:
    from skyeye.data.images.georeference import crs_text
    from skyeye.serve.scenes.plan import Cutting, Length

    given = ((options.tile, "--tile"), (options.overlap, "--overlap"))
    tile, overlap = (None if text is None else Length.parse(text, name) for text, name in given)
    crs = None if options.scene_crs is None else crs_text(options.scene_crs)
    return Cutting(tile, overlap, tuple(options.scales), options.bands, options.stretch, crs)


def _annotate(options: argparse.Namespace) -> int:
    from skyeye.data.files import check_new_folder
    from skyeye.data.images.load import image_size
    from skyeye.data.images.raster import REMOTE
    from skyeye.eval.answers.store import Process
    from skyeye.launch import check_launch, rank, world_size
    from skyeye.serve.scenes.many import scenes_of
    from skyeye.serve.scenes.place import SOURCE

    check_launch()
    asking = asking_of(options)
    if options.crs != SOURCE:
        from skyeye.data.images.georeference import crs_text

        crs_text(options.crs)
    scenes = scenes_of(options.scene)
    jobs, folder = jobs_for(scenes, [any_path(place) for place in options.out], options.formats, options.crs)
    check_new_folder(folder)
    if len(scenes) == 1 and not scenes[0].startswith(REMOTE):
        image_size(scenes[0])  # a misspelt name is said before a model is opened
    return _run(options, jobs, asking, folder, Process(rank(), world_size()))


def jobs_for(scenes: list[str], places: list[Path], endings: list[str], crs: str) -> tuple[list[Job], Path]:
    """What is written, and the folder that it lies in.

    Raises:
        SkyEyeError: files for several scenes, or a file of an unknown kind.
    """
    from skyeye.serve.scenes.annotate import Job
    from skyeye.serve.scenes.many import jobs_of
    from skyeye.serve.scenes.write import Layer

    named = [place for place in places if place.suffix and not place.is_dir()]
    if not named and len(places) == 1:
        return jobs_of(scenes, places[0], endings, crs), places[0]
    if len(named) < len(places):
        raise SkyEyeError("files and folders cannot be mixed", where="--out", remedy="give one folder, or files")
    layers = tuple(Layer(place, crs) for place in named)
    for layer in layers:
        _ = layer.kind  # an unknown ending is said before anything is asked
    if len(scenes) > 1:
        remedy = "give a folder, and --formats for what is written of each"
        raise SkyEyeError(f"{len(scenes)} scenes cannot be written to one file", where=str(named[0]), remedy=remedy)
    journal = named[0].with_name(f".{named[0].name}.journal")
    return [Job(scenes[0], layers, journal)], named[0].parent


def _run(options: argparse.Namespace, jobs: list[Job], asking: Asking, folder: Path, process: Any) -> int:
    from skyeye.cli.progress import Counter
    from skyeye.serve.scenes.annotate import annotate_scene
    from skyeye.serve.scenes.ask import open_answerer
    from skyeye.serve.scenes.many import SUMMARY, annotate_many
    from skyeye.serve.scenes.summary import format_text

    hide_loading_bars()
    checkpoint, how = opened_as(options)
    progress = Counter("windows") if process.rank == 0 else None
    if options.engine == "ray":
        from functools import partial

        from skyeye.serve.scenes.ray_engine import annotate_by_ray, described_by_worker

        if not jobs[0].keep:
            raise SkyEyeError("--engine ray writes into a folder", where="--out", remedy="give a folder")
        described = described_by_worker(partial(open_answerer, checkpoint, how, options.max_new_tokens))
        report = annotate_by_ray(jobs, asking, described, folder, options.replicas, progress)
    else:
        answerer = open_answerer(checkpoint, how, options.max_new_tokens)
        if not jobs[0].keep and process.world_size == 1:
            found = annotate_scene(jobs[0], asking, answerer, progress)
            print(format_text(found))
            for layer in jobs[0].layers:
                print(f"written: {layer.path}")
            return 1 if found.unreadable else 0
        report = annotate_many(jobs, asking, answerer, folder, process, progress)
    if report is None:
        return 0
    for scene, what in report.problems:
        print(f"skipped: {what if what.startswith(scene) else f'{scene}: {what}'}", file=sys.stderr)
    unread = sum(scene["windows"]["unreadable"] for scene in report.scenes)
    counted = f"; {folder / SUMMARY} counts what is in them" if jobs[0].keep else ""
    print(f"{len(report.scenes)} of {len(jobs)} scenes annotated{counted}")
    if unread:
        print(f"{unread} windows could not be read; the same command tries them again", file=sys.stderr)
    return 1 if report.problems or unread else 0
