"""A YAML file (and ``key=value`` overrides) -> :class:`~skyeye.config.schema.Recipe`, or every mistake in it at once.

Nothing heavy is imported: a misspelt key is answered in a fraction of a second.

A recipe may begin with ``extends: other.yaml``: mappings are merged key by key, anything else is replaced. A *list* is
replaced by a list and amended by a mapping, whose keys are positions (``0``) or the ``name`` of an entry::

    extends: tiny.yaml
    stages:
      pretrain: {steps: 500}      # the entry of the list whose name is pretrain; the others stay

Overrides are the same thing on the command line: ``stages.pretrain.steps=500``. ``${model.vision.width}`` in a value
refers to another setting (OmegaConf interpolation), after merging.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from skyeye.config.hints import did_you_mean
from skyeye.config.issue import Issue, join
from skyeye.config.kinds import inside, without_foreign
from skyeye.config.paths import expanded
from skyeye.config.rules import Rule, unused
from skyeye.config.schema import ModelConfig, Recipe
from skyeye.config.validate import build
from skyeye.errors import SkyEyeError


class RecipeError(SkyEyeError):
    """Everything that is wrong with a recipe, in ``issues``; printed as one sentence per mistake, path first."""

    def __init__(self, where: str, issues: Sequence[Issue]):
        self.issues = list(issues)
        count = "1 mistake" if len(self.issues) == 1 else f"{len(self.issues)} mistakes"
        super().__init__("\n  ".join([count, *map(str, self.issues)]), where=where)


def load_recipe(path: str | Path, overrides: Sequence[str] = (), further: Sequence[Rule] = ()) -> Recipe:
    """Read, merge and check a recipe.

    Args:
        path: YAML file.
        overrides: ``key=value`` strings, applied last; the value is read as YAML (``run.precision=fp32``,
            ``stages.0.steps=5``, ``stages.pretrain.steps=5``, ``eval.benchmarks=[vqa,scene]``). One that would change
            nothing is a mistake.
        further: rules besides those of the schema, e.g. :func:`skyeye.data.preflight.files_are_there`.

    Raises:
        RecipeError: with all mistakes in the settings.
        SkyEyeError: when a file is missing, empty or not YAML.
    """
    issues: list[Issue] = []
    data = _read_with_bases(Path(path), (), issues)
    given: list[str] = []
    for override in overrides:
        over = _parse_override(override)
        data = _merge(data, over, "", Recipe, issues)
        given.extend(_leaves(over, data))
    data = _resolve(data, str(path))
    recipe, found = build(Recipe, data, [partial(unused, path=setting) for setting in given] + list(further))
    if issues or found:
        raise RecipeError(str(path), issues + found)
    return recipe


def load_model(path: str | Path) -> ModelConfig:
    """The model section of a recipe, which need not say anything else.

    Raises:
        RecipeError, SkyEyeError: as :func:`load_recipe`; there is no such section.
    """
    issues: list[Issue] = []
    data = _resolve(_read_with_bases(Path(path), (), issues), str(path))
    if "model" not in data:
        raise SkyEyeError("has no section `model`", where=str(path), remedy="give a recipe that describes a model")
    model, found = build(ModelConfig, data["model"])
    found = [issue.inside("model") for issue in found]
    if found:
        raise RecipeError(str(path), found)
    return model


def recipe_to_yaml(recipe: Recipe) -> str:
    """The recipe with every setting written out; :func:`load_recipe` gives the same recipe back from it."""
    return OmegaConf.to_yaml(OmegaConf.create(_literal_text(dataclasses.asdict(recipe))))


def quick_recipe(recipe: Recipe) -> Recipe:
    """The same run with a tenth of the steps in every stage, in a folder of its own (``<output_dir>-quick``).

    Warm-up, logging and checkpoints shrink with it.
    """
    stages = []
    for stage in recipe.stages:
        warmup, steps, epochs = stage.optimizer.warmup_steps // 10, stage.steps, stage.epochs
        if steps is not None:
            steps = _tenth(steps)
            warmup = min(warmup, steps // 2)  # a very short stage has to learn, too
        elif epochs is not None:
            epochs = epochs / 10
        optimizer = dataclasses.replace(stage.optimizer, warmup_steps=warmup)
        stages.append(dataclasses.replace(stage, optimizer=optimizer, steps=steps, epochs=epochs))
    run = dataclasses.replace(
        recipe.run, log_every=_tenth(recipe.run.log_every), checkpoint_every=_tenth(recipe.run.checkpoint_every)
    )
    return dataclasses.replace(recipe, stages=stages, run=run, output_dir=f"{recipe.output_dir.rstrip('/')}-quick")


def _tenth(number: int) -> int:
    return max(1, round(number / 10))


def _read_with_bases(path: Path, seen: tuple[Path, ...], issues: list[Issue]) -> dict[str, Any]:
    """The file merged onto the one it extends, and so on down the chain; interpolations still unresolved."""
    if path.resolve() in seen:
        chain = " -> ".join(str(p) for p in (*seen, path.resolve()))
        raise SkyEyeError(f"extends itself: {chain}", where=str(path))
    data = _read_yaml(path)
    base = data.pop("extends", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise SkyEyeError(f"extends: expected the name of one file, got {base!r}", where=str(path))
    below = path.parent / expanded(base)
    if not below.is_file():
        remedy = "the name is relative to the file that extends"
        raise SkyEyeError(f"extends: there is no file {below}", where=str(path), remedy=remedy)
    return _merge(_read_with_bases(below, (*seen, path.resolve()), issues), data, "", Recipe, issues)


def _read_yaml(path: Path) -> dict[str, Any]:
    if path.is_dir():
        remedy = f"give {path / 'recipe.yaml'}" if (path / "recipe.yaml").is_file() else "give the YAML file in it"
        raise SkyEyeError("is a folder, not a recipe", where=str(path), remedy=remedy)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.yaml"))
        found = f"recipes there: {', '.join(beside)}{did_you_mean(path.name, beside)}" if beside else "check the path"
        raise SkyEyeError("no such recipe file", where=str(path), remedy=found)
    try:
        config = OmegaConf.load(path)  # unlike plain YAML it refuses duplicate keys and knows that 1e-5 is a number
    except UnicodeDecodeError as error:
        what = f"not a text file in UTF-8 ({error.reason} at byte {error.start})"
        raise SkyEyeError(what, where=str(path), remedy="save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise SkyEyeError(f"not valid YAML: {error.problem}", where=where) from error
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise SkyEyeError(f"not valid YAML: {_first_line(error)}", where=str(path)) from error
    except OSError as error:
        # OmegaConf raises OSError, without errno, for a file that holds a single value.
        reason = error.strerror or "expected settings (key: value), found a single value"
        raise SkyEyeError(reason, where=str(path)) from error
    if not config:
        raise SkyEyeError("the file is empty", where=str(path), remedy="start from a copy of a file in configs/")
    if not isinstance(config, DictConfig):
        raise SkyEyeError("expected settings (key: value), found a list", where=str(path))
    return _plain(config, resolve=False)


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, _ = override.partition("=")
    if not equals or not re.fullmatch(r"[^\s.]+(\.[^\s.]+)*", key):
        raise SkyEyeError("an override is key=value, e.g. stages.pretrain.steps=500", where=repr(override))
    try:
        return _plain(OmegaConf.from_dotlist([override]), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise SkyEyeError(f"not valid YAML: {_first_line(error)}", where=repr(override)) from error


def _merge(base: Any, over: Any, path: str, kind: Any, issues: list[Issue]) -> Any:
    """``over`` laid on ``base``: mappings merge, a mapping amends entries of a list, anything else replaces.

    A source whose format changes is replaced as well: split and options of one format mean nothing to another. Where
    the ``type`` of a section changes, the settings that the new type does not have go. ``kind`` is what the schema says
    of the two.
    """
    if isinstance(over, dict) and isinstance(base, dict):
        if re.fullmatch(r"sources\.[^.]+", path) and over.get("format", base.get("format")) != base.get("format"):
            return over
        base = without_foreign(kind, base, over)
        merged, both = dict(base), {**base, **over}
        for key, value in over.items():
            inner = inside(kind, key, both)
            merged[key] = _merge(base[key], value, join(path, str(key)), inner, issues) if key in base else value
        return merged
    if isinstance(over, dict) and over and isinstance(base, list):
        amended = list(base)
        for key, value in over.items():
            index = _position(base, key, path, issues)
            if index is not None:
                amended[index] = _merge(base[index], value, f"{path}[{index}]", inside(kind, key, base), issues)
        return amended
    return over


def _position(entries: list[Any], key: Any, path: str, issues: list[Issue]) -> int | None:
    """Index of the entry that ``key`` means: a position, or the name of an entry."""
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    if key in names:
        return names.index(key)
    if str(key).isdecimal() and int(key) < len(entries):
        return int(key)
    known = [name for name in names if isinstance(name, str)]
    named = f" or {', '.join(known)}" if known else ""
    count = f"0 to {len(entries) - 1}" if entries else "none"
    message = f"no such entry; allowed: {count}{named}{did_you_mean(str(key), known)}"
    issues.append(Issue(join(path, str(key)), message))
    return None


def _leaves(over: Any, data: Any, path: str = "") -> Iterator[str]:
    """Paths of the settings that an override gives, ``stages[0].steps``; ``data`` is what it was merged into."""
    if not isinstance(over, dict) or not over:
        yield path
    elif isinstance(data, list):
        for key, value in over.items():
            index = _position(data, key, path, [])
            if index is not None:
                yield from _leaves(value, data[index], f"{path}[{index}]")
    elif isinstance(data, dict):
        for key, value in over.items():
            yield from _leaves(value, data.get(key), join(path, str(key)))


def _resolve(data: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        return _plain(OmegaConf.create(data), resolve=True)
    except OmegaConfBaseException as error:
        place = ", ".join(filter(None, (where, error.full_key)))
        name = re.match(r"Interpolation key '([A-Za-z_]\w*)' not found", str(error))
        remedy = f"of the environment: ${name[1]} in a path, ${{oc.env:{name[1]}}} elsewhere" if name else None
        raise SkyEyeError(_first_line(error), where=place, remedy=remedy) from error


def _plain(config: DictConfig, resolve: bool) -> dict[str, Any]:
    """The mapping that a configuration holds."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=resolve))


def _literal_text(data: Any) -> Any:
    """Escape what OmegaConf would read as an interpolation: resolved text means itself."""
    if isinstance(data, dict):
        return {key: _literal_text(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_literal_text(value) for value in data]
    if isinstance(data, str):
        return re.sub(r"(\\*)\$\{", lambda match: match.group(1) * 2 + r"\${", data)
    return data


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
