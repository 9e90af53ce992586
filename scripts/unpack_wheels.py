"""``python scripts/unpack_wheels.py WHEELS FOLDER``: unpack wheels of packages that this Python lacks; print FOLDER.

Needs neither pip nor network. A package that is installed is left as it is, whatever its version.
"""

from __future__ import annotations

import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def unpack_missing(wheels: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Unpack what is missing.

    Returns:
        The files that were unpacked, and those that are for another Python.
    """
    unpacked, strange = [], []
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    for wheel in sorted(wheels.glob("*.whl")):
        name, _, tag, *_ = wheel.name.split("-")
        if installed(name):
            continue
        if not tag.startswith("py") and tag != python:
            strange.append(wheel.name)
            continue
        with zipfile.ZipFile(wheel) as file:
            file.extractall(folder)
        unpacked.append(wheel.name)
    return unpacked, strange


def installed(name: str) -> bool:
    """Whether a distribution of this name is there."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def main() -> None:
    wheels, folder = Path(sys.argv[1]), Path(sys.argv[2]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    unpacked, strange = unpack_missing(wheels, folder)
    if unpacked:
        print(f"taken from {wheels}: {', '.join(unpacked)}", file=sys.stderr)
    if strange:
        print(f"for another Python, not taken: {', '.join(strange)}", file=sys.stderr)
    print(folder)


if __name__ == "__main__":
    main()
