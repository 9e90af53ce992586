"""What holds for every page: nothing of what is shown becomes markup, and no script runs but the page's own."""

import base64
import hashlib
import json
import re

import jinja2
import pytest

from skyeye.html.page import content_policy, render, script_data

HOSTILE = '</style></script><script>alert(1)</script><img src=x onerror="alert(2)">{{ 7 * 7 }}\'"&lt;'


@pytest.fixture
def package(tmp_path, monkeypatch) -> str:
    """A package with one template."""
    (tmp_path / "some_pages").mkdir()
    (tmp_path / "some_pages/__init__.py").touch()
    (tmp_path / "some_pages/own.css").write_text("b { color: red; }\n")
    (tmp_path / "some_pages/a.html.jinja").write_text(
        '{% extends "base.html.jinja" %}\n'
        '{% from "thumbnails.html.jinja" import thumbnail %}\n'
        "{% block title %}{{ text }}{% endblock %}\n"
        '{% block style %}\n{% include "own.css" %}\n{% endblock %}\n'
        "{% block header %}<h1>{{ text }}</h1>{% endblock %}\n"
        '{% block main %}<p>{{ text }}</p>{{ thumbnail(text, text, []) }}<script type="application/json" id="d">'
        "{{ [text]|data }}</script>{% endblock %}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "some_pages"


def test_a_page_has_the_common_head_and_its_own_style(package):
    html = render(package, "a.html.jinja", text="ships")
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">') and html.endswith("</html>")
    assert "<title>ships</title>" in html and "b { color: red; }" in html and "--ink: #1c2733" in html
    assert f'content="{content_policy()}"' in html and "script-src" not in html
    assert html.count("<script") == 1


def test_what_is_shown_stays_text(package):
    html = render(package, "a.html.jinja", text=HOSTILE, script="run()")
    assert re.findall(r"<script[^>]*>", html) == ['<script type="application/json" id="d">', "<script>"]
    assert html.count("<img") == 1 and 'onerror="' not in html and "{{ 7 * 7 }}" in html
    shown = re.search(r'id="d">(.*?)</script>', html)[1]
    assert json.loads(shown) == [HOSTILE] and shown == script_data([HOSTILE])


def test_the_script_of_a_page_is_let_in_by_its_hash(package):
    script = "if (1 < 2 && '{{ x }}') run()"
    html = render(package, "a.html.jinja", text="ships", script=script)
    assert f"<script>{script}</script>" in html
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"; script-src 'sha256-{digest}'\"" in html and content_policy(script) in html


def test_a_name_that_is_missing_is_an_error(package):
    with pytest.raises(jinja2.UndefinedError, match="text"):
        render(package, "a.html.jinja")
