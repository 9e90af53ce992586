"""``skyeye bench serve``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from skyeye.cli.loading import hide_loading_bars
from skyeye.cli.numbers import positive, share
from skyeye.cli.paths import any_path, new_file


def serve_bench(bench: argparse._SubParsersAction, command: Callable) -> None:
    """Insert ``serve [CHECKPOINT]`` into the group ``bench``."""
    serve = command(bench, "serve", _serve, "a server under load against answering one by one, on this machine")
    serve.add_argument(
        "checkpoint",
        type=any_path,
        nargs="?",
        metavar="CHECKPOINT",
        help="folder written by training (default: a model of the demo's shapes with random weights)",
    )
    serve.add_argument("--rows", type=positive, default=32, metavar="N", help="of the server (default 32)")
    serve.add_argument("--replicas", type=positive, default=1, metavar="N", help="of the server (default 1)")
    serve.add_argument("--rounds", type=positive, default=3, metavar="N", help="of each measurement (default 3)")
    serve.add_argument("--seconds", type=float, default=3.0, metavar="S", help="of each of these (default 3)")
    serve.add_argument("--requests", type=positive, metavar="N", help="sent afterwards by 64 clients and counted")
    serve.add_argument(
        "--bad", type=share, default=0.05, metavar="X", help="share of them that is wrong (default 0.05)"
    )
    serve.add_argument(
        "--hang-up", type=share, default=0.05, metavar="X", help="share whose client leaves (default 0.05)"
    )
    serve.add_argument("--json", type=new_file, metavar="FILE", help="write the result there as well")


def _serve(options: argparse.Namespace) -> int:
    from skyeye.bench.demo_model import write_demo_model
    from skyeye.bench.serve import bench_serve, format_text
    from skyeye.data.files import write_json

    hide_loading_bars()
    with TemporaryDirectory(prefix="skyeye-bench-") as folder:
        result = bench_serve(
            options.checkpoint or write_demo_model(Path(folder)),
            rows=options.rows,
            replicas=options.replicas,
            rounds=options.rounds,
            seconds=options.seconds,
            requests=options.requests or 0,
            bad=options.bad,
            hang_up=options.hang_up,
        )
    print(format_text(result))
    if options.json:
        write_json(options.json, result, indent=1)
        print(f"written: {options.json}")
    return 1 if result.get("requests", {}).get("lost") else 0
