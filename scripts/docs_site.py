"""A hook of the docs site (.mkdocs.yml): what a page says in the repository and cannot say on the site."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:func|class|meth|data|mod|attr|exc):<code>~?(?:[\w.]*\.)?(\w+)</code>")
_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)\s]*)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called with each page: a link to a file outside docs/ becomes its name, one to README the first page."""
    return _OUTSIDE.sub(r"\1 (`\2`)", markdown.replace("](../README.md)", "](index.md)"))


def on_post_page(output: str, **_: Any) -> str:
    """Called with each page as HTML: names that docstrings mark in Sphinx's way (:func:`~a.b.c`) become plain code."""
    return _ROLE.sub(r"<code>\1</code>", output)
