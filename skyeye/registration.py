"""Transformers' own way to our models, ready after ``import skyeye``: its auto classes and pipelines know ``skyeye``.

Transformers looks for an unknown kind of model among classes that were registered, and a class cannot be registered
without being imported, with torch and timm behind it. ``import skyeye`` is to load nothing heavy, so it waits: when
somebody imports transformers' auto classes, ``from_pretrained`` of two of them, through which every way leads
(``pipeline``, ``AutoModelForImageTextToText``, ``AutoProcessor``), registers our classes the first time it is called.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

#: Modules of transformers, and the class in each whose ``from_pretrained`` comes first.
_CLASSES = {
    "transformers.models.auto.configuration_auto": "AutoConfig",
    "transformers.models.auto.processing_auto": "AutoProcessor",
}
#: It imports torchvision, which is not importable everywhere; skyeye.models mends that.
_READS_IMAGES = "transformers.image_utils"


class _Waiting(importlib.abc.MetaPathFinder):
    """Finds nothing by itself; the modules that are waited for are changed when they have been imported."""

    def __init__(self) -> None:
        self.names = {*_CLASSES, _READS_IMAGES}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.names:
            return None
        self.names.discard(fullname)
        if fullname == _READS_IMAGES:
            importlib.import_module("skyeye.models")
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _register_at_first_use(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _register_at_first_use(module: ModuleType) -> None:
    auto: Any = getattr(module, _CLASSES[module.__name__])
    original = auto.__dict__["from_pretrained"]

    @functools.wraps(original.__func__)
    def from_pretrained(cls: type, *arguments: Any, **named: Any) -> Any:
        auto.from_pretrained = original
        for ours in ("skyeye.models.processing", "skyeye.models.modeling"):
            importlib.import_module(ours)
        return original.__func__(cls, *arguments, **named)

    auto.from_pretrained = classmethod(from_pretrained)


def register_lazily() -> None:
    """Let transformers know our models as soon as it asks; no-op the second time."""
    if any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        return
    waiting = _Waiting()
    for name in _CLASSES:
        if name in sys.modules:
            waiting.names.discard(name)
            _register_at_first_use(sys.modules[name])
    sys.meta_path.insert(0, waiting)
