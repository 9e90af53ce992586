"""Measuring in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "train"))  # processes.py is shared with the tests of training
