"""A hook of the docs site: names that docstrings mark in Sphinx's way (:func:`~a.b.c`) stand there as plain code."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:func|class|meth|data|mod|attr|exc):<code>~?(?:[\w.]*\.)?(\w+)</code>")


def on_post_page(output: str, **_: Any) -> str:
    """Called by MkDocs with each page as HTML."""
    return _ROLE.sub(r"<code>\1</code>", output)
