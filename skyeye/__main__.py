"""``python -m skyeye`` is the command ``skyeye``."""

from __future__ import annotations

import sys

from skyeye.cli import main

sys.exit(main())
