"""Templates as pages that open from a file: everything escaped, no network, no script but one that is named."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup


def render(package: str, template: str, *, script: str = "", **values: Any) -> str:
    """A page as HTML text.

    Templates of ``package`` may extend ``base.html.jinja`` of this one (blocks ``title``, ``style``, ``header``,
    ``main``) and import its parts. Nothing of a text that is shown is taken for markup, and the policy in the head
    forbids every script but ``script``: one in an answer would not run even if it were not escaped.

    Args:
        package: name of the Python package with the template.
        script: JavaScript of the page itself; it is let in by its hash.
        values: what the template shows; a name that is missing is an error.
    """
    policy, own = Markup(content_policy(script)), Markup(script)
    return environment(package).get_template(template).render(**values, policy=policy, script=own)


@cache  # it holds its templates compiled: most of the time of a page
def environment(package: str) -> jinja2.Environment:
    """The templates of ``package`` and of this one, with the rules of :func:`render`."""
    made = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name, ".") for name in (package, "skyeye.html")]),
    )
    made.filters["data"] = script_data
    return made


def content_policy(script: str = "") -> str:
    """The Content-Security-Policy of a page: images and style from the page itself, ``script`` by its hash, no more."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if not script:
        return policy
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"{policy}; script-src 'sha256-{digest}'"


def script_data(value: Any) -> Markup:
    """JSON that can stand in a script element whatever texts it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
