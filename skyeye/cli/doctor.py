"""``skyeye doctor``: what this machine has and lacks for training, see docs/plan.md."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from skyeye.cli.paths import any_path, new_file


def doctor_command(commands: argparse._SubParsersAction, command: Callable) -> None:
    """Add ``doctor`` to the command line; the arguments are what commands are added with."""
    doctor = command(commands, "doctor", _doctor, "look for what would stop or slow a run on this machine")
    doctor.add_argument(
        "--out",
        type=any_path,
        default=Path("runs"),
        metavar="DIR",
        help="folder that runs will write to (default runs)",
    )
    doctor.add_argument("--json", type=new_file, metavar="FILE", help="write the findings there as well")


def _doctor(options: argparse.Namespace) -> int:
    import json

    from skyeye.doctor import examine, format_text

    findings = examine(options.out)
    print(format_text(findings))
    if options.json:
        from skyeye.data.files import write_whole

        write_whole(options.json, json.dumps([finding._asdict() for finding in findings], indent=1) + "\n")
        print(f"written: {options.json}")
    return 1 if any(finding.remedy for finding in findings) else 0
