"""The model card of an export: ``README.md`` with the metadata that the hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

import skyeye
from skyeye.config.catalogue import CataloguedModel
from skyeye.eval.results import EvalResults
from skyeye.serve.export.checksums import files_of
from skyeye.serve.export.licences import DATA, PARTS, Licence, licence_of, of_the_whole
from skyeye.serve.export.private import last_name

#: What a folder is asked where nobody says what.
QUESTION = "[caption] Describe the image."
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Described:
    """What a card says of a model.

    Attributes:
        name: of the model.
        form: of the folder: a key of :data:`skyeye.serve.export.formats.FORMATS`.
        recipe: the recipe as it was run, as plain values; empty: the checkpoint carries none.
        manifest: what training noted; empty: nothing.
        precision: of the weights, in words.
        bases: names of the pretrained parts, as the recipe or the checkpoint has them.
        listed: the model of ``skyeye models list`` whose published files these are.
        scores: of this checkpoint; None: none were found.
        licence: the hub's identifier that the person who exports states; None: as the parts say.
        asks: a question in the words of the model.
    """

    name: str
    form: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    precision: str = ""
    bases: tuple[str, ...] = ()
    listed: CataloguedModel | None = None
    scores: EvalResults | None = None
    licence: str | None = None
    asks: str = QUESTION


def write_card(folder: Path, described: Described) -> None:
    """Write ``README.md``; the folder's other files, but for the checksums, are there already."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=jinja2.PackageLoader("skyeye.serve.export", "."),
    )
    sizes = {name: (folder / name).stat().st_size for name in files_of(folder)}
    text = environment.get_template("card.md.jinja").render(
        head=yaml.safe_dump(_metadata(described), sort_keys=False, allow_unicode=True),
        model=described,
        parts=[(_cell(last_name(name)), licence_of([name], PARTS)) for name in described.bases],
        data=_data(described),
        stages=_stages(described),
        scores=_scores(described.scores),
        files=[(name, _size(size)) for name, size in sizes.items()],
        version=skyeye.__version__,
        notes=_notes(described, sizes),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _metadata(described: Described) -> dict[str, Any]:
    """The head of the card, as the hub reads it."""
    licences = [licence_of([name], PARTS) for name in described.bases]
    licences += [licence for _, _, licence in _data(described)]
    if described.listed is not None:
        licences.append(Licence(described.listed.licence))
    named = described.licence or of_the_whole(licences)
    head: dict[str, Any] = {"library_name": {"llava": "transformers", "peft": "peft"}.get(described.form, "skyeye")}
    head |= {"pipeline_tag": "image-text-to-text", "license": named}
    if named == "other":
        head |= {"license_name": "see-the-licences-below", "license_link": "README.md"}
    if bases := [name for name in described.bases if _HUB_NAME.fullmatch(name)]:
        head["base_model"] = bases
    return head | {"tags": ["remote-sensing", "vision-language-model", "skyeye"], "language": ["en"]}


def _dicts(value: object) -> list[dict[str, Any]]:
    """The objects of a list; a recipe may have been edited by hand."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _cell(value: object) -> str:
    """A text inside a table."""
    return " ".join(str(value).split()).replace("|", r"\|")


def _data(described: Described) -> list[tuple[str, str, Licence]]:
    """(source, format, licence) of what the recipe's stages draw from."""
    sources = described.recipe.get("sources")
    stages = _dicts(described.recipe.get("stages"))
    drawn = {str(entry.get("source")) for stage in stages for entry in _dicts(stage.get("mixture"))}
    found = []
    for name, source in (sources if isinstance(sources, dict) else {}).items():
        if str(name) in drawn and isinstance(source, dict):
            words = [str(name), str(source.get("format")), str(source.get("path"))]
            found.append((_cell(name), _cell(source.get("format")), licence_of(words, DATA)))
    return found


def _stages(described: Described) -> list[dict[str, Any]]:
    """What each stage trained, on what, for how long."""
    told = []
    for stage in _dicts(described.recipe.get("stages")):
        trained = [f"{part}: {stage.get(part)}" for part in ("vision", "projector", "language") if stage.get(part)]
        mixture = [_drawn(entry) for entry in _dicts(stage.get("mixture"))]
        steps = f"{stage['steps']} steps" if stage.get("steps") else f"{stage.get('epochs')} epochs"
        row = {"name": stage.get("name"), "trained": ", ".join(trained), "mixture": ", ".join(mixture), "steps": steps}
        told.append({name: _cell(value) for name, value in row.items()})
    return told


def _drawn(entry: Mapping[str, Any]) -> str:
    """An entry of a mixture: source, weight, and the tasks that it is restricted to."""
    tasks = entry.get("tasks")
    only = f": {' '.join(map(str, tasks))}" if isinstance(tasks, list) and tasks else ""
    return f"{entry.get('source')} ({entry.get('weight')}{only})"


def _scores(scores: EvalResults | None) -> list[dict[str, str]]:
    rows = []
    for name, result in ({} if scores is None else scores.benchmarks).items():
        main = result.main
        interval = "–" if main.low is None or main.high is None else f"{main.low:.1f} – {main.high:.1f}"
        rows.append(
            {
                "benchmark": name,
                "metric": result.protocol.main_metric,
                "value": _number(main.value),
                "interval": interval,
                "shuffled": _number(main.shuffled_images),
                "records": str(result.counts["records"]),
            }
        )
    return rows


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _notes(described: Described, sizes: Mapping[str, int]) -> list[str]:
    """What a person who gets the folder has to know."""
    notes = []
    if not described.recipe:
        notes.append("The checkpoint carried no recipe: what it was trained on is not known here.")
    if "base.json" in sizes:
        parts = ", ".join(last_name(name) for name in described.bases)
        notes.append(
            f"The frozen parts ({parts}) are not in this folder. `base.json` names them with a fingerprint of their"
            " files; where they lie elsewhere, `--base RECIPE` says where."
        )
    if described.scores is not None and "(bitsandbytes)" in described.precision:
        notes.append("The scores below were measured before the weights were rounded to so few bits.")
    licences = [licence_of([name], PARTS) for name in described.bases]
    licences += [licence for _, _, licence in _data(described)]
    if not all(licence.is_known for licence in licences):
        notes.append("A licence of a pretrained part or data set is not known here: look before you hand this on.")
    return notes
