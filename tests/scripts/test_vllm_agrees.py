"""What ``scripts/vllm_agrees.py`` writes; and vLLM's answers beside ours, where an environment with vLLM is named."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/vllm_agrees.py"
#: The interpreter of an environment with vLLM.
PYTHON = "SKYEYE_VLLM_PYTHON"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    spec = importlib.util.spec_from_file_location("vllm_agrees", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.make(out := tmp_path_factory.mktemp("vllm"))
    return out


@pytest.mark.slow
def test_answers_differ_from_picture_to_picture(made):
    """Equality would prove little otherwise."""
    asked = json.loads((made / "ours.json").read_text())
    image_id = json.loads((made / "llava/config.json").read_text())["image_token_index"]
    assert len(asked) == 12 and len({tuple(each["answer"]) for each in asked}) > 6
    assert all(each["ids"].count(image_id) == 1 for each in asked)
    assert all(len(each["answer"]) == len(each["log_probabilities"]) for each in asked)


@pytest.mark.slow
@pytest.mark.skipif(PYTHON not in os.environ, reason=f"${PYTHON} names no interpreter with vLLM")
def test_vllm_says_the_same(made):
    said = subprocess.run([os.environ[PYTHON], SCRIPT, "compare", made], capture_output=True, text=True, timeout=900)
    assert said.returncode == 0, said.stdout + said.stderr[-3000:]
