"""Plain YAML data -> dataclasses of :mod:`skyeye.config.schema`, with every mistake collected on the way."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from skyeye.config.hints import meant, nearest
from skyeye.config.issue import Issue, is_inside, join
from skyeye.config.kinds import Sections, blank, describe, not_allowed, optional, required, sections, show, tags
from skyeye.config.paths import expanded, is_path
from skyeye.config.rules import Rule, check
from skyeye.errors import SkyEyeError


def build(kind: Any, data: Any, further: Iterable[Rule] = ()) -> tuple[Any, list[Issue]]:
    """Turn nested mappings and lists into a section of the schema.

    Args:
        kind: a dataclass, or a union of dataclasses that their ``type`` tells apart.
        data: what YAML gave.
        further: rules of the whole section for this time, beside those that always hold.

    Returns:
        The section and the list of mistakes. With mistakes it holds defaults or blanks in their place and must not be
        used. What a rule says is left out where a setting that it was judged by is in doubt: has the wrong type, is
        missing, or may have been meant by a misspelt key.
    """
    findings = _Findings()
    value = _value(kind, data, "", findings)
    for holds in further:
        for issue in holds(value):
            findings.judge(issue)
    return value, findings.issues


@dataclass
class _Findings:
    """Mistakes so far, and the paths of the settings whose values are in doubt because of them."""

    issues: list[Issue] = field(default_factory=list)
    doubts: set[str] = field(default_factory=set)

    def complain(self, path: str, message: str, about: str | None = None) -> None:
        """``about``: the setting in doubt, where it is not the one at ``path``: what a misspelt key has meant."""
        self.issues.append(Issue(path, message))
        self.doubts.add(path if about is None else about)

    def judge(self, issue: Issue) -> None:
        """Take what a rule says, unless it was judged by a setting in doubt."""
        if not any(is_inside(setting, doubt) for setting in issue.depends_on for doubt in self.doubts):
            self.issues.append(issue)


def _value(kind: Any, data: Any, path: str, findings: _Findings) -> Any:
    kind, may_be_none = optional(kind)
    if kind is Any or (data is None and may_be_none):
        return data
    allowed = sections(kind)
    if allowed and allowed.listed and isinstance(data, list | tuple):
        one = Sections(allowed.members, listed=False)
        return [_one_of(one, item, f"{path}[{i}]", findings) for i, item in enumerate(data)]
    if allowed:
        return _one_of(allowed, data, path, findings)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _literal(arguments, data, path, findings)
    if origin in (list, tuple):
        return _sequence(kind, data, path, findings)
    if origin is dict:
        return _mapping(kind, data, path, findings)
    return _scalar(kind, data, path, findings)


def _one_of(allowed: Sections, data: Any, path: str, findings: _Findings) -> Any:
    """The section that ``data`` means; one with a misspelt ``type`` is looked at as what it resembles."""
    first = allowed.members[0]
    if not isinstance(data, dict):
        findings.complain(path, f"expected {allowed.describe()}, got {show(data)}")
        return blank(first)
    member = allowed.member(data)
    if member is None:
        by_type = allowed.by_type()
        findings.complain(join(path, "type"), not_allowed(data["type"], tuple(by_type)))
        alike = nearest(str(data["type"]), list(by_type))
        if not alike:
            findings.doubts.add(path)  # nothing in it can be judged
            return blank(first)
        member, data = by_type[alike[0]], {**data, "type": alike[0]}
    return _section(member, allowed, data, path, findings)


def _section(cls: type, allowed: Sections, data: dict[Any, Any], path: str, findings: _Findings) -> Any:
    hints, with_extras = get_type_hints(cls), get_type_hints(cls, include_extras=True)
    _unknown_keys(cls, allowed, data, path, findings)
    _keys_of_another_type(cls, allowed, data, path, findings)
    values = {}
    for f in fields(cls):
        own = join(path, f.name)
        if f.name in data:
            value = _value(hints[f.name], data[f.name], own, findings)
            if is_path(with_extras[f.name]) and isinstance(value, str):
                value = _path(value, own, findings)
            if required(f) or own not in findings.doubts:  # else the default stands in
                values[f.name] = value
        elif required(f):
            values[f.name] = blank(hints[f.name])
            if own not in findings.doubts:  # else its misspelling is reported
                findings.complain(own, f"missing; expected {describe(hints[f.name])}")
    section = cls(**values)
    for issue in check(section):
        findings.judge(issue.inside(path))
    return section


def _path(text: str, path: str, findings: _Findings) -> str:
    try:
        return expanded(text)
    except SkyEyeError as error:
        findings.complain(path, str(error))
        return text


def _unknown_keys(cls: type, allowed: Sections, data: dict[Any, Any], path: str, findings: _Findings) -> None:
    names, deeper, elsewhere = [f.name for f in fields(cls)], _nested_names(cls), allowed.elsewhere(cls)
    for key in data:
        if key in names or key in elsewhere:
            continue
        if not isinstance(key, str):
            findings.complain(join(path, str(key)), f"the key {key!r} is not text; put it in quotes")
            continue
        matches = [name for name in deeper if name.endswith(f".{key}")] or nearest(key, names) or nearest(key, deeper)
        message = f"unknown key{meant(matches)} (keys here: {', '.join(names)})"
        findings.complain(join(path, key), message, about=join(path, matches[0]) if matches else None)


def _keys_of_another_type(cls: type, allowed: Sections, data: dict[Any, Any], path: str, findings: _Findings) -> None:
    """Complain of settings of another section of the same union, unless the type itself is in doubt."""
    for key, other in allowed.elsewhere(cls).items():
        if key in data and join(path, "type") not in findings.doubts:
            here = f"this is type: {data['type']}" if "type" in data else f"without type this is type: {tags(cls)[0]}"
            keys = ", ".join(f.name for f in fields(cls))
            findings.complain(
                join(path, key), f"belongs to type: {' or '.join(tags(other))}, and {here} (keys here: {keys})"
            )


def _nested_names(cls: type) -> list[str]:
    """``section.key`` for every key of the sections directly inside ``cls``: for a key written one level too high."""
    nested: dict[str, None] = {}
    for name, kind in get_type_hints(cls).items():
        allowed = sections(kind)
        for member in allowed.members if allowed else ():
            nested.update(dict.fromkeys(f"{name}.{inner.name}" for inner in fields(member)))
    return list(nested)


def _literal(allowed: tuple[Any, ...], data: Any, path: str, findings: _Findings) -> Any:
    # YAML 1.1 reads a bare off / on / no / yes as a boolean; where one of these words is allowed, it was meant.
    words = {False: ("off", "no"), True: ("on", "yes")}.get(data, ()) if isinstance(data, bool) else ()
    data = next((word for word in words if word in allowed), data)
    if data in allowed and not isinstance(data, bool):
        return data
    findings.complain(path, not_allowed(data, allowed))
    return allowed[0]


def _sequence(kind: Any, data: Any, path: str, findings: _Findings) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    fixed = origin is tuple and Ellipsis not in arguments
    if not isinstance(data, list | tuple) or (fixed and len(data) != len(arguments)):
        findings.complain(path, f"expected {describe(kind)}, got {show(data)}")
        return blank(kind)
    kinds = arguments if fixed else [arguments[0]] * len(data)
    pairs = enumerate(zip(kinds, data, strict=True))
    return origin(_value(inner, item, f"{path}[{i}]", findings) for i, (inner, item) in pairs)


def _mapping(kind: Any, data: Any, path: str, findings: _Findings) -> dict[str, Any]:
    if not isinstance(data, dict):
        findings.complain(path, f"expected {describe(kind)}, got {show(data)}")
        return {}
    result = {}
    for key, item in data.items():
        if not isinstance(key, str):
            findings.complain(join(path, str(key)), f"the key {key!r} is not text; put it in quotes")
        else:
            result[key] = _value(get_args(kind)[1], item, join(path, key), findings)
    return result


def _scalar(kind: type, data: Any, path: str, findings: _Findings) -> Any:
    number = isinstance(data, int | float) and not isinstance(data, bool) and math.isfinite(data)
    if kind is float and number:
        return float(data)
    if kind is int and number and data == int(data):  # 1e5 is a whole number too
        return int(data)
    if kind in (bool, str) and isinstance(data, kind):
        return data
    quotes = "; put it in quotes" if kind is str and not isinstance(data, dict | list | None) else ""
    findings.complain(path, f"expected {describe(kind)}, got {show(data)}{quotes}")
    return blank(kind)
