"""What ``scripts/vllm_agrees.py`` writes; and vLLM's answers beside ours, where an environment with vLLM is named."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/vllm_agrees.py"
#: The interpreter of an environment with vLLM and skyeye (docs/serving.md).
PYTHON = "SKYEYE_VLLM_PYTHON"
MODELS = ("plain", "minigpt_v2", "two_towers")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    spec = importlib.util.spec_from_file_location("vllm_agrees", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert tuple(script.MODELS) == MODELS
    script.make(out := tmp_path_factory.mktemp("vllm"))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_answers_differ_from_chat_to_chat(made, name):
    """Equality would prove little otherwise."""
    asked = json.loads((made / name / "ours.json").read_text())
    assert len(asked) >= 17 and len({tuple(each["answer"]) for each in asked}) > 8
    assert all((-1 in each["ids"]) == bool(each["pictures"]) for each in asked)
    assert all(len(each["answer"]) == len(each["log_probabilities"]) for each in asked)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.skipif(PYTHON not in os.environ, reason=f"${PYTHON} names no interpreter with vLLM")
def test_vllm_says_the_same(made, name):
    command = [os.environ[PYTHON], SCRIPT, "compare", made, name]
    said = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert said.returncode == 0, said.stdout + said.stderr[-3000:]
