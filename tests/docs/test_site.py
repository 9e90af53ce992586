"""The docs as a site: built strictly (a broken link or anchor is an error), offline, every page within reach."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

mkdocs = pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e .[docs]")
pytest.importorskip("material", reason="mkdocs-material is not installed: pip install -e .[docs]")
pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: pip install -e .[docs]")

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / ".mkdocs.yml"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    out = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.chdir(ROOT)
        config = load_config(str(CONFIG), strict=True, site_dir=str(out))
        config.plugins.run_event("startup", command="build", dirty=False)
        build(config)
    return out


def test_it_is_built_without_a_warning(site):
    assert (site / "index.html").is_file() and (site / "search/search_index.json").is_file()
    assert (site / "images/way_of_the_data.svg").is_file()


def test_nothing_is_loaded_from_elsewhere(site):
    loaded = re.compile(r"<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^\">]*")
    found = {page.name: loaded.findall(page.read_text(encoding="utf-8")) for page in site.glob("*.html")}
    assert found and not {name: links for name, links in found.items() if links}


def test_the_reference_shows_what_is_public(site):
    text = (site / "reference.html").read_text(encoding="utf-8")
    for name in ("load", "Model.ask", "Answer", "open_checkpoint", "SkyEyeError"):
        assert re.search(rf'id="skyeye\.[\w.]*{re.escape(name)}"', text), name
    assert ":func:" not in text and ":class:" not in text, "scripts/docs_site.py writes names as code"


def test_links_show_titles_and_not_names_of_files(site):
    shown = {page.name: re.findall(r">(\w+\.md)</a>", page.read_text(encoding="utf-8")) for page in site.glob("*.html")}
    assert not {name: links for name, links in shown.items() if links}
    assert ">Design</a> walks" in (site / "index.html").read_text(encoding="utf-8")


def test_every_page_stands_in_the_navigation():
    named = re.findall(r"[\w-]+\.md", yaml.safe_dump(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["nav"]))
    pages = [page.name for page in (ROOT / "docs").glob("*.md")]
    assert sorted(named) == sorted(pages)
