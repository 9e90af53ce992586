"""``skyeye runs``: look at run folders, see docs/runs.md."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from skyeye.cli.paths import any_path, check_usual, new_file


def runs_commands(group: Callable, command: Callable) -> None:
    """Add the group ``runs`` to the command line; the arguments are the functions that add commands."""
    runs = group("runs", "look at runs while they train or afterwards")
    show = command(runs, "show", _show, "write a page with the curves, events, samples and settings of a run")
    show.add_argument("folder", type=any_path, metavar="DIR", help="run folder (output_dir of the recipe)")
    show.add_argument("--out", type=new_file, metavar="FILE", help="the HTML page (default DIR/run.html)")
    compare = command(runs, "compare", _compare, "print what differs between runs, and write it on a page")
    compare.add_argument("folders", type=any_path, nargs="+", metavar="DIR", help="run folders, two or more")
    compare.add_argument("--out", type=new_file, metavar="FILE", help="an HTML page with the curves in one field")


def _show(options: argparse.Namespace) -> int:
    from skyeye.data.files import check_new_file, write_whole
    from skyeye.runs.page import page, state
    from skyeye.runs.read import read_run

    run = read_run(options.folder)
    out = options.out or options.folder / "run.html"
    if options.out is None:
        check_usual(check_new_file, out)
    write_whole(out, page(run))
    print(state(run))
    for note in run.notes:
        print(f"note: {note}")
    print(f"page: {out}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from skyeye.data.files import write_whole
    from skyeye.runs.compare import as_text, compare_page
    from skyeye.runs.read import read_run

    runs = [read_run(folder) for folder in options.folders]
    print(as_text(runs))
    if options.out is not None:
        write_whole(options.out, compare_page(runs))
        print(f"\npage: {options.out}")
    return 0
