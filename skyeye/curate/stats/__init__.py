"""``skyeye data stats``: how many of what a data set holds, in numbers, in words and in plots."""

from __future__ import annotations

from skyeye.curate.stats.count import measure
from skyeye.curate.stats.page import write_page
from skyeye.curate.stats.words import format_text

__all__ = ["format_text", "measure", "write_page"]
