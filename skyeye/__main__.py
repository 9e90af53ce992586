"""``python -m skyeye`` is the command ``skyeye``."""

from __future__ import annotations

import sys

from skyeye.cli import main

if __name__ == "__main__":  # processes that it starts read this file, too
    sys.exit(main())
