"""``bash scripts/full_size.sh [--gpu]``: see :mod:`skyeye.bench.full_size`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from skyeye.bench.full_size.plans import cpu_steps, gpu_steps, zero2_step
from skyeye.bench.full_size.processor import processor, trained_layers
from skyeye.bench.full_size.sizes import LAYERS, WIDTH, Size, needs, refuse_too_little
from skyeye.bench.full_size.steps import has_gpu, line_of, run_steps
from skyeye.data.files import write_whole
from skyeye.errors import SkyEyeError

HEAD = "| step | seconds | host GiB | device GiB | written GB | |\n|---|---|---|---|---|---|"
#: Between these lines of a page the table is put.
BEGIN, END = "<!-- full size: begin -->", "<!-- full size: end -->"


def main(arguments: list[str] | None = None) -> int:
    """0 when every step that was run succeeded."""
    options = _options(arguments)
    try:
        if options.report is not None:
            fill(options.page, json.loads(options.report.read_text(encoding="utf-8")))
            return 0
        return _run(options)
    except (SkyEyeError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/full_size.sh", description="the full-size check, step by step")
    parser.add_argument("--gpu", action="store_true", help="what a GPU is asked, after the whole way on a small model")
    parser.add_argument("--minutes", type=float, help="for all steps together (default 60, with --gpu 25)")
    parser.add_argument("--layers", type=int, default=LAYERS, metavar="N", help="of the language model (default 32)")
    parser.add_argument("--width", type=int, default=WIDTH, metavar="N", help="of the language model (default 4096)")
    parser.add_argument("--work", type=Path, default=Path("runs/full_size"), help="folder (default runs/full_size)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result (default: result.json in that folder)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="put the table of a result into the page, and stop")
    parser.add_argument("--page", type=Path, default=Path("docs/performance.md"), help="(default docs/performance.md)")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    layers, width = (2, 128) if options.gpu else (options.layers, options.width)
    if layers < 1 or width < 128 or width % 128:
        what = f"{layers} layers of {width}"
        raise SkyEyeError(what, where="--layers, --width", remedy="a multiple of 128 for width")
    minutes = options.minutes or (25 if options.gpu else 60)
    size = Size(layers, width, trained_layers(layers, width, minutes))
    needed = needs(size)
    refuse_too_little(needed, options.work)
    steps = cpu_steps(options.work, size, needed.merged)
    if options.gpu:
        gpu = has_gpu()
        if not gpu:
            print("no NVIDIA GPU: what can be run without one is run at small sizes, and is no measurement\n")
        steps = [*gpu_steps(options.work, gpu), *steps, zero2_step(options.work)]
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        **asdict(size),
        **asdict(needed),
    }
    out = options.json or options.work / "result.json"
    print(f"{told_size(about)}\n\n{HEAD}", flush=True)
    found = run_steps(steps, options.work, out, seconds=60 * minutes, about=about)
    print(f"written: {out}")
    return int(any(entry.get("code", 0) != 0 and not entry.get("may_fail") for entry in found["steps"].values()))


def told_size(found: dict) -> str:
    """What was measured, and where, in a sentence."""
    layers, trained = found["layers"], found["trained_layers"]
    fewer = "" if trained == layers else f"; training with {trained} layers, because bf16 products are slow here"
    machine = found["machine"]
    return f"{layers} layers of {found['width']}{fewer}; {machine['processor']}, {machine['cores']} cores"


def fill(page: Path, found: dict) -> None:
    """Put the table of a result between the marks of a page.

    Raises:
        SkyEyeError: the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SkyEyeError("has no place for the table", where=str(page), remedy=f"put {BEGIN} and {END} into it")
    rows = "\n".join(line_of(name, entry) for name, entry in found["steps"].items())
    told = f"{told_size(found)}, {found['date']}."
    write_whole(page, f"{before}{BEGIN}\n{told}\n\n{HEAD}\n{rows}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
