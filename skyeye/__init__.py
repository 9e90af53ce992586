"""SkyEyeGPT for remote sensing images: data, training, evaluation and use.

``skyeye.load(CHECKPOINT)`` opens a model to ask it, and transformers knows our models (docs/python.md). Importing this
package loads nothing heavy; each part is imported by whoever uses it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from skyeye.registration import register_lazily

if TYPE_CHECKING:
    from skyeye.serve.model import Model as Model
    from skyeye.serve.model import load as load

__version__ = "0.1.0"

register_lazily()


def __getattr__(name: str) -> Any:
    """``skyeye.load`` and ``skyeye.Model``: torch is imported when the first of them is asked for."""
    if name in ("load", "Model"):
        return getattr(importlib.import_module("skyeye.serve.model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
