"""timm and transformers import beside a CPU-only torch, in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torchvision.version", reason="torchvision is not installed")


def test_timm_and_transformers_import():
    code = (
        "import skyeye.models, timm, torchvision\n"
        "from torchvision.transforms import v2\n"
        "from transformers import CLIPImageProcessor\n"
        "assert torchvision.ops.nms is not None\n"
        "print('fine')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "fine", result.stderr
