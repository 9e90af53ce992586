"""A hook of the docs site (.mkdocs.yml): what a page says in the repository and cannot say on the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_ROLE = re.compile(r":(?:func|class|meth|data|mod|attr|exc):<code>~?(?:[\w.]*\.)?(\w+)</code>")
_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)\s]*)\)")
_FILE = re.compile(r"\[(\w+\.md)\](?=\(\1[#)])")


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """Called with each page: a link to a file outside docs/ becomes its name, one to README the first page.

    A link that shows the name of its file shows the title of that page instead.
    """
    titles = dict(_titles(config["nav"]))
    markdown = _FILE.sub(lambda link: f"[{titles.get(link[1], link[1])}]", markdown)
    return _OUTSIDE.sub(r"\1 (`\2`)", markdown.replace("](../README.md)", "](index.md)"))


def _titles(nav: list[Any]) -> Iterator[tuple[str, str]]:
    """Files and what the navigation calls them."""
    for entry in nav:
        for title, below in entry.items():
            yield from _titles(below) if isinstance(below, list) else [(below, title)]


def on_post_page(output: str, **_: Any) -> str:
    """Called with each page as HTML: names that docstrings mark in Sphinx's way (:func:`~a.b.c`) become plain code."""
    return _ROLE.sub(r"<code>\1</code>", output)
