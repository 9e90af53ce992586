"""``skyeye bench annotate``: a scene asked against tile by tile."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from skyeye.cli.annotate import asking_of, scene_arguments
from skyeye.cli.checkpoints import opened_as
from skyeye.cli.loading import hide_loading_bars
from skyeye.cli.numbers import positive
from skyeye.cli.paths import new_file


def bench_annotate_command(bench: argparse._SubParsersAction, command: Callable) -> None:
    """Insert ``bench annotate SCENE --model CHECKPOINT --ask QUESTION``."""
    summary = "windows of a scene asked together against tile by tile with plain generate"
    annotate = command(bench, "annotate", _annotate, summary)
    scene_arguments(annotate)
    annotate.add_argument("--windows", type=positive, default=64, metavar="N", help="asked in a round (default 64)")
    annotate.add_argument("--pairs", type=positive, default=5, metavar="N", help="rounds of both (default 5)")
    annotate.add_argument(
        "--seconds", type=float, default=120.0, metavar="S", help="no further pair after (default 120)"
    )
    annotate.add_argument("--json", type=new_file, metavar="FILE", help="write the result there as well")


def _annotate(options: argparse.Namespace) -> int:
    from skyeye.bench.annotate import bench_annotate, format_text
    from skyeye.data.files import write_json
    from skyeye.serve.scenes.ask import open_answerer

    hide_loading_bars()
    asking = asking_of(options)
    checkpoint, how = opened_as(options)
    answerer = open_answerer(checkpoint, how, options.max_new_tokens)
    sizes = {"windows": options.windows, "pairs": options.pairs, "seconds": options.seconds}
    result = bench_annotate(answerer, options.scene, asking, **sizes)
    print(format_text(result))
    if options.json:
        write_json(options.json, result, indent=1)
        print(f"written: {options.json}")
    return 0
