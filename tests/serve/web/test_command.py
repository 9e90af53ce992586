"""``skyeye web`` as a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import requests


def test_the_command_shows_its_page_and_leaves_nothing_behind_when_it_is_ended(checkpoint, tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed")
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-m", "skyeye", "web", str(checkpoint), "--port", "0"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    page = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path / "here", env=environment
    )
    try:
        line = page.stdout.readline()
        assert line.startswith("skyeye web: http://127.0.0.1:"), page.stderr.read()
        found = requests.get(line.split()[2], timeout=60)
        assert found.status_code == 200 and "sk-ask" in found.text
        assert list((tmp_path / "temporary").glob("skyeye-web-*/examples/*.png")), "its folder lies elsewhere"
        page.terminate()
        assert page.wait(120) == 0, page.stderr.read()
    finally:
        page.kill()
        page.communicate()
    assert [path for name in ("here", "temporary") for path in (tmp_path / name).iterdir()] == []
