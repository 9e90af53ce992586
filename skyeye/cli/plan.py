"""``skyeye plan``: memory, time and size of a run before it, see docs/plan.md."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from skyeye.cli.paths import new_file


def plan_command(commands: argparse._SubParsersAction, command: Callable, recipe_arguments: Callable) -> None:
    """Add ``plan`` to the command line; the arguments are what commands are added with."""
    plan = command(commands, "plan", _plan, "memory, tokens and hours of a run, before it and without a GPU")
    recipe_arguments(plan)
    plan.add_argument("--gpus", type=int, default=8, metavar="N", help="one process to each (default 8)")
    plan.add_argument("--gpu-memory", type=float, default=80.0, metavar="GIB", help="of a GPU (default 80)")
    plan.add_argument(
        "--reserve", type=float, default=2.0, metavar="GIB", help="kept for CUDA, NCCL and fragments (default 2)"
    )
    plan.add_argument("--mfu", type=float, default=0.4, metavar="X", help="share of the peak reached (default 0.4)")
    plan.add_argument(
        "--peak-tflops", type=float, default=312.0, metavar="X", help="of a GPU in bfloat16 (default 312, an A100)"
    )
    plan.add_argument(
        "--here", action="store_true", help="minutes on this machine instead, from a few steps of each stage"
    )
    plan.add_argument("--json", type=new_file, metavar="FILE", help="write the plan there as well")


def _plan(options: argparse.Namespace) -> int:
    from skyeye.config.load import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)  # mistakes are answered before torch is imported
    from skyeye.data.files import write_json

    if options.here:
        from skyeye.plan.here import format_time, time_here

        plan = time_here(recipe)
        print(format_time(plan))
    else:
        from skyeye.plan.plan import Hardware, make_plan
        from skyeye.plan.text import format_text

        hardware = Hardware(options.gpus, options.gpu_memory, options.reserve, options.mfu, options.peak_tflops)
        plan = make_plan(recipe, hardware)
        print(format_text(plan))
    if options.json:
        write_json(options.json, plan, indent=1)
        print(f"written: {options.json}")
    return 0
