"""Templates of this package as pages that open from a file: everything escaped, one script, no network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from skyeye.eval.report.galleries import LONGEST_TEXT, MOST_PICTURES, MOST_ROWS

_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_TEMPLATES = ("report.html.jinja", "compare.html.jinja", "parts.html.jinja")


def render(template: str, **values: Any) -> str:
    """A page as text that UTF-8 can hold; half a character (a lone surrogate) of a hostile text becomes ``?``.

    Characters that turn the direction of what follows them are replaced by the sign for a bad character. The page's
    policy lets in the script of this package by its hash, and nothing else: a script in an answer would not run even if
    it were not escaped.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.DictLoader({name: _read(name) for name in _TEMPLATES}),
    )
    script = _read("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.filters["data"] = _data
    environment.globals |= {
        "style": Markup(_read("page.css")),
        "script": Markup(script),
        "policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "most": {"rows": MOST_ROWS, "pictures": MOST_PICTURES, "text": LONGEST_TEXT},
    }
    text = environment.get_template(template).render(**values)
    return _TURNING.sub("\ufffd", text).encode("utf-8", "replace").decode()


def _data(value: Any) -> Markup:
    """JSON that can stand in a script element whatever texts it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _read(name: str) -> str:
    return files("skyeye.eval.report").joinpath(name).read_text(encoding="utf-8")
