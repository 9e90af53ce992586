"""Folders of other projects, by their layout: which one a folder is in, and what it is in our words."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from skyeye.models.converters import lhrs, llava, llava_write, rsgpt

#: A layout is a module with ``knows(path)`` and ``read(path, base, family)``.
LAYOUTS: dict[str, ModuleType] = {"llava": llava, "lhrs": lhrs, "rsgpt": rsgpt}

#: Layouts that are written, too: modules with ``write(target, config, tensors, base, processor)``.
WRITERS: dict[str, ModuleType] = {"llava": llava_write, "lhrs": lhrs, "rsgpt": rsgpt}


def layout_of(path: Path) -> ModuleType | None:
    """The layout of a folder or file of another project; None: it is none that is known."""
    return next((layout for layout in LAYOUTS.values() if layout.knows(path)), None)
