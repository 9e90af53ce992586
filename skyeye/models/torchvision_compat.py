"""Make torchvision importable beside a CPU-only torch; timm and transformers import any installed torchvision.

The torchvision of PyPI is compiled against CUDA. Beside a CPU-only torch its compiled part does not load, its operators
are not registered, and ``import torchvision`` ends in "operator torchvision::nms does not exist". The parts in Python,
all that timm and transformers use, work once two operator schemas exist. The operators themselves raise when called.
"""

from __future__ import annotations

import importlib
import sys

import torch

#: The operators that torchvision's Python modules refer to while they are imported.
_SCHEMAS = ("nms", "qnms")

#: Registrations last as long as their library object, so it is kept here.
_libraries: list[torch.library.Library] = []


def make_torchvision_importable() -> None:
    """Import torchvision, with stand-in schemas where its compiled part cannot load. No-op beside a CUDA torch."""
    if torch.version.cuda is not None or _libraries:
        return
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in _SCHEMAS:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _libraries.append(library)
        importlib.import_module("torchvision")
