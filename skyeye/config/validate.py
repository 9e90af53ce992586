"""Plain YAML data -> dataclasses of :mod:`skyeye.config.schema`, with every mistake collected on the way."""

from __future__ import annotations

import difflib
import math
import re
import types
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Problem:
    """One mistake. ``about`` is the setting in doubt because of it: for a misspelt key, the one that was meant."""

    path: str
    message: str
    about: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def build(cls: type, data: Any) -> tuple[Any, list[str]]:
    """Turn nested mappings and lists into an instance of the dataclass ``cls``.

    Returns:
        The instance and the list of mistakes, each ``path: what is wrong and what is allowed``. With mistakes the
        instance holds defaults or blanks in their place and must not be used.
    """
    problems: list[Problem] = []
    value = _value(cls, data, "", problems)
    return value, [str(problem) for problem in problems]


def nearest(word: str, known: list[str]) -> list[str]:
    """Up to three of ``known`` that look like ``word``, best first."""
    lower = {name.lower(): name for name in known}
    return [lower[match] for match in difflib.get_close_matches(word.lower(), list(lower), n=3, cutoff=0.6)]


def did_you_mean(word: str, known: list[str]) -> str:
    """``; did you mean 'x'?`` or nothing, to be appended to a sentence."""
    matches = nearest(word, known)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _dataclass(cls: type, data: Any, path: str, problems: list[Problem]) -> Any:
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls)]
    if not isinstance(data, dict):
        _complain(problems, path, f"expected a section with the keys {', '.join(names)}, got {_show(data)}")
        return _blank(cls)
    _unknown_keys(cls, data, path, problems)
    values, unusable = {}, False
    for f in fields(cls):
        required = f.default is MISSING and f.default_factory is MISSING
        own = join(path, f.name)
        if f.name in data:
            before = len(problems)
            value = _value(hints[f.name], data[f.name], own, problems)
            wrong = any(problem.path == own for problem in problems[before:])
            if required or not wrong:  # else the default stands in
                values[f.name] = value
            # A required value that is wrong altogether leaves the rules between fields nothing to judge.
            unusable |= required and wrong
        elif required:
            values[f.name], unusable = _blank(hints[f.name]), True
            if not any(problem.about == own for problem in problems):  # else its misspelling is reported
                _complain(problems, own, f"missing; expected {_describe(hints[f.name])}")
    instance = cls(**values)
    if not unusable and hasattr(instance, "check"):
        problems.extend(_rules(instance, path, names, problems))
    return instance


def _rules(instance: Any, path: str, names: list[str], problems: list[Problem]) -> list[Problem]:
    """What ``check`` says, without the sentences about settings that are already in doubt."""
    doubtful = {re.split(r"[.\[]", p.about)[-1] for p in problems if p.about.startswith(path)}
    found = []
    for sentence in instance.check():
        if doubtful & set(re.findall(r"\w+", sentence)):
            continue
        key, _, rest = sentence.partition(": ")
        if rest and re.split(r"[.\[]", key)[0] in names:
            found.append(Problem(join(path, key), rest, join(path, key)))
        else:
            found.append(Problem(path, sentence, path))
    return found


def _unknown_keys(cls: type, data: dict, path: str, problems: list[Problem]) -> None:
    names, deeper = [f.name for f in fields(cls)], _nested_names(cls)
    for key in data:
        if key in names:
            continue
        if not isinstance(key, str):
            _complain(problems, join(path, str(key)), f"the key {key!r} is not text; put it in quotes")
            continue
        matches = [name for name in deeper if name.endswith(f".{key}")] or nearest(key, names) or nearest(key, deeper)
        meant = f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
        about = join(path, matches[0]) if matches else join(path, key)
        problems.append(Problem(join(path, key), f"unknown key{meant} (keys here: {', '.join(names)})", about))


def _nested_names(cls: type) -> list[str]:
    """``section.key`` for every key of the sections directly inside ``cls``: for a key written one level too high."""
    hints = get_type_hints(cls)
    sections = [f.name for f in fields(cls) if is_dataclass(hints[f.name])]
    return [f"{section}.{inner.name}" for section in sections for inner in fields(hints[section])]


def _value(kind: Any, data: Any, path: str, problems: list[Problem]) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return data
    if is_dataclass(kind):
        return _dataclass(kind, data, path, problems)
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) != 1:
            raise TypeError(f"{path}: the schema uses {kind}, which this check does not know")
        return None if data is None else _value(inner[0], data, path, problems)
    if origin is Literal:
        return _literal(arguments, data, path, problems)
    if origin in (list, tuple):
        return _sequence(kind, data, path, problems)
    if origin is dict:
        return _mapping(kind, data, path, problems)
    return _scalar(kind, data, path, problems)


def _literal(allowed: tuple, data: Any, path: str, problems: list[Problem]) -> Any:
    # YAML 1.1 reads a bare off / on / no / yes as a boolean; where one of these words is allowed, it was meant.
    words = {False: ("off", "no"), True: ("on", "yes")}.get(data, ()) if isinstance(data, bool) else ()
    data = next((word for word in words if word in allowed), data)
    if data in allowed and not isinstance(data, bool):
        return data
    hint = did_you_mean(str(data), [str(choice) for choice in allowed])
    _complain(problems, path, f"{_show(data)} is not allowed; allowed: {', '.join(map(str, allowed))}{hint}")
    return allowed[0]


def _sequence(kind: Any, data: Any, path: str, problems: list[Problem]) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    fixed = origin is tuple and Ellipsis not in arguments
    if not isinstance(data, list | tuple) or (fixed and len(data) != len(arguments)):
        _complain(problems, path, f"expected {_describe(kind)}, got {_show(data)}")
        return _blank(kind)
    kinds = arguments if fixed else [arguments[0]] * len(data)
    pairs = enumerate(zip(kinds, data, strict=True))
    return origin(_value(inner, item, f"{path}[{i}]", problems) for i, (inner, item) in pairs)


def _mapping(kind: Any, data: Any, path: str, problems: list[Problem]) -> dict:
    if not isinstance(data, dict):
        _complain(problems, path, f"expected {_describe(kind)}, got {_show(data)}")
        return {}
    result = {}
    for key, item in data.items():
        if not isinstance(key, str):
            _complain(problems, join(path, str(key)), f"the key {key!r} is not text; put it in quotes")
        else:
            result[key] = _value(get_args(kind)[1], item, join(path, key), problems)
    return result


def _scalar(kind: type, data: Any, path: str, problems: list[Problem]) -> Any:
    number = isinstance(data, int | float) and not isinstance(data, bool) and math.isfinite(data)
    if kind is float and number:
        return float(data)
    if kind is int and number and data == int(data):  # 1e5 is a whole number too
        return int(data)
    if kind in (bool, str) and isinstance(data, kind):
        return data
    quotes = "; put it in quotes" if kind is str and not isinstance(data, dict | list | None) else ""
    _complain(problems, path, f"expected {_describe(kind)}, got {_show(data)}{quotes}")
    return _blank(kind)


def _blank(kind: Any) -> Any:
    """A stand-in of the right type, so that the rest of the recipe can still be looked at."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        return kind(**{name: _blank(hints[name]) for name in required})
    if origin is Literal:
        return arguments[0]
    if origin is tuple:
        return tuple(_blank(inner) for inner in arguments if inner is not Ellipsis)
    if origin in (Union, types.UnionType) or kind is Any:
        return None
    return (origin or kind)()


def _describe(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return f"a section with the keys {', '.join(f.name for f in fields(kind))}"
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)} values, each {_describe(arguments[0])}"
    if origin in (list, tuple):
        return f"a list, each entry {_describe(arguments[0])}"
    if origin is dict:
        return f"a mapping from names to {_describe(arguments[1])}"
    if origin in (Union, types.UnionType):
        return " or ".join("null" if inner is type(None) else _describe(inner) for inner in arguments)
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Any: "anything"}
    return names[kind]


def _show(data: Any) -> str:
    if data is None:
        return "nothing (null)"
    text = repr(data)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _complain(problems: list[Problem], path: str, message: str) -> None:
    problems.append(Problem(path, message, path))
