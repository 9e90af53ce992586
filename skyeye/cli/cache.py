"""``skyeye cache``: the feature cache on disk, see docs/feature_cache.md."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from skyeye.cli.paths import any_path, new_folder
from skyeye.cli.progress import Counter
from skyeye.errors import SkyEyeError
from skyeye.html.numbers import duration

DAMAGED = 1  # exit code of a look that found damaged rows; a mistake of the user's is 2


def cache_commands(group: Callable, command: Callable, recipe_arguments: Callable) -> None:
    """Add the group ``cache`` to the command line; the arguments are the functions that add commands."""
    cache = group("cache", "what a frozen vision tower sees, computed once and kept on disk")
    build = command(cache, "build", _build, "compute what is missing; can be stopped and run again")
    recipe_arguments(build)
    build.add_argument("--out", type=new_folder, metavar="DIR", help="folder; default: feature_cache of the stage")
    build.add_argument("--stage", metavar="NAME", help="default: the first with a frozen tower, and those behind it")
    build.add_argument("--dtype", choices=["bf16", "fp16", "fp32"], help="of the rows; default: that of the stage")
    build.add_argument("--limit", type=int, metavar="N", help="compute N images at most, and then stop")
    build.add_argument("--verify", action="store_true", help="read all rows first and compute damaged ones again")
    show = command(cache, "show", _show, "say what a cache holds and what it was made from")
    show.add_argument("folder", type=any_path, metavar="DIR", help="folder of the cache")
    show.add_argument("--verify", action="store_true", help="read all rows and compare their checksums")


def _build(options: argparse.Namespace) -> int:
    from skyeye.config.load import load_recipe

    if options.limit is not None and options.limit < 1:
        raise SkyEyeError("must be 1 or more", where="--limit")
    load_recipe(options.recipe, options.overrides)  # a mistake in the recipe is answered before torch is imported
    from skyeye.train.features.recipe import build_cache

    counters: dict[str, Counter] = {}
    told = computed = 0
    for progress in build_cache(
        options.recipe,
        options.overrides,
        stage=options.stage,
        out=options.out,
        dtype=options.dtype,
        verify=options.verify,
        limit=options.limit,
    ):
        if progress.total:
            counters.setdefault(progress.what, Counter(progress.what))(progress.done, progress.total)
        if progress.seconds_left is not None:
            told, computed = told + 1, progress.done
            if told == 3 and progress.done < progress.total:
                print(f"about {duration(progress.seconds_left)} for the rest, by the first {computed} images")
    print("complete" if options.limit is None else f"stopped after at most {options.limit} images, as asked")
    return 0


def _show(options: argparse.Namespace) -> int:
    from skyeye.train.features.recipe import damaged_rows, describe_cache

    print(describe_cache(options.folder))
    if not options.verify:
        return 0
    damaged = damaged_rows(options.folder, Counter("checking rows"))
    if not damaged:
        print("every row has its checksum")
        return 0
    print(f"damaged: {len(damaged)} rows, the first is row {damaged[0]}")
    return DAMAGED
