"""Templates of this package as pages: text that UTF-8 can hold, in the direction it is written, with one script."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from skyeye.eval.report.galleries import LONGEST_TEXT, MOST_PICTURES, MOST_ROWS
from skyeye.html import page

_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def render(template: str, **values: Any) -> str:
    """A page as text that UTF-8 can hold; half a character (a lone surrogate) of a hostile text becomes ``?``.

    Characters that turn the direction of what follows them are replaced by the sign for a bad character.
    """
    script = files(__package__).joinpath("page.js").read_text(encoding="utf-8")
    most = {"rows": MOST_ROWS, "pictures": MOST_PICTURES, "text": LONGEST_TEXT}
    text = page.render(__package__, template, script=script, most=most, **values)
    return _TURNING.sub("\ufffd", text).encode("utf-8", "replace").decode()
