"""A command that is told to end leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time


def test_a_benchmark_that_is_told_to_end_takes_its_folder_with_it(tmp_path):
    command = [sys.executable, "-m", "skyeye", "bench", "start", "--records", "3000000"]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE) as process:
        try:
            while not list(tmp_path.glob("skyeye-bench-*/*")):
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == -signal.SIGTERM, "a service manager sees by which signal it ended"
        finally:
            process.kill()
    assert not list(tmp_path.glob("skyeye-*"))
