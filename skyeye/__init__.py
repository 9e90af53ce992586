"""SkyEyeGPT for remote sensing images: data, training, evaluation and chat.

Importing this package loads nothing heavy; each part is imported by whoever uses it.
"""

from __future__ import annotations

__version__ = "0.1.0"
