"""The annotations that a schema may use, and what they allow.

Scalars, ``Literal``, lists, tuples, mappings from names, ``X | None``, and sections (dataclasses) in three forms:

- ``Section``
- ``A | B``, where each has a field ``type: Literal["..."]``: the value's ``type`` says which; without one it is ``A``.
- ``Section | list[Section]`` (or ``A | B | list[A | B]``): one section or several.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from skyeye.config.hints import did_you_mean
from skyeye.errors import SkyEyeError


@dataclass(frozen=True)
class Sections:
    """The forms of a section that an annotation allows: its classes, and whether it may be a list of them."""

    members: tuple[type, ...]
    listed: bool

    def by_type(self) -> dict[str, type]:
        """What ``type`` may say -> the class that it means."""
        return {name: member for member in self.members for name in tags(member)}

    def member(self, data: dict[str, Any]) -> type | None:
        """The class that ``data`` means, or None where its ``type`` is none of those allowed."""
        if len(self.members) == 1 or "type" not in data:
            return self.members[0]
        name = data["type"]
        return self.by_type().get(name) if isinstance(name, str) else None

    def elsewhere(self, member: type) -> dict[str, type]:
        """Settings that ``member`` does not have -> a class that has them."""
        own = {f.name for f in fields(member)}
        return {f.name: other for other in self.members for f in fields(other) if f.name not in own}

    def describe(self) -> str:
        keys = [", ".join(f.name for f in fields(member)) for member in self.members]
        if len(keys) == 1:
            words = f"a section with the keys {keys[0]}"
        else:
            names = [" or ".join(tags(member)) for member in self.members]
            kinds = [f"type: {name} (keys {own})" for name, own in zip(names, keys, strict=True)]
            words = f"a section of {' or of '.join(kinds)}"
        return f"{words}, or a list of such sections" if self.listed else words


def sections(kind: Any) -> Sections | None:
    """What sections the annotation ``kind`` allows; None where it is no section.

    Raises:
        TypeError: for a union of sections that nothing tells apart.
    """
    arms = [arm for arm in _arms(kind) if arm is not types.NoneType]
    members = tuple(arm for arm in arms if isinstance(arm, type) and is_dataclass(arm))
    lists = [get_args(arm)[0] for arm in arms if get_origin(arm) is list]
    if not members and len(arms) == 1:
        return None
    agrees = len(members) + len(lists) == len(arms) and all(set(_arms(inner)) == set(members) for inner in lists)
    if not agrees or len(lists) > 1 or (len(members) > 1 and not all(tags(member) for member in members)):
        raise TypeError(f"the schema uses {kind}, which this check does not know")
    return Sections(members, bool(lists))


def tags(section: type) -> tuple[str, ...]:
    """What ``type`` may say in a section; nothing where it has no such field."""
    kind = get_type_hints(section).get("type")
    return get_args(kind) if get_origin(kind) is Literal else ()


def make_section(kind: Any, data: dict[str, Any]) -> Any:
    """The section of ``kind`` that the ``type`` in ``data`` names, with the values as they are.

    For settings that were checked before and come back from a file of ours; a recipe is read by
    :func:`skyeye.config.validate.build`.

    Raises:
        SkyEyeError: for a ``type`` that ``kind`` does not have.
    """
    allowed = sections(kind)
    if allowed is None:
        raise TypeError(f"{kind} is no section")
    member = allowed.member(data)
    if member is None:
        raise SkyEyeError(not_allowed(data["type"], tuple(allowed.by_type())), where="type")
    return member(**data)


def optional(kind: Any) -> tuple[Any, bool]:
    """``X | None`` -> X, True; anything else -> itself, False."""
    arms = _arms(kind)
    inner = [arm for arm in arms if arm is not types.NoneType]
    if len(inner) == len(arms):
        return kind, False
    return Union[tuple(inner)], True  # noqa: UP007  (of a number of members that only the schema knows)


def _arms(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def required(field: Field[Any]) -> bool:
    """Whether a field of a section has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def inside(kind: Any, key: str, data: Any) -> Any:
    """Annotation of what stands under ``key`` in ``data`` (or at that position); Any where none is known."""
    allowed = sections(kind)
    if allowed and not isinstance(data, list):
        member = allowed.member(data) if isinstance(data, dict) else None
        return get_type_hints(member).get(key, Any) if member else Any
    if allowed:
        return Union[allowed.members]  # noqa: UP007
    kind, _ = optional(kind)
    return get_args(kind)[-1] if get_origin(kind) in (list, dict) else Any


def without_foreign(kind: Any, base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` without the settings that mean nothing to the ``type`` that ``over`` gives in its place."""
    allowed = sections(kind)
    if allowed is None or "type" not in over:
        return base
    after = allowed.member(over)
    if after is None or after is allowed.member(base):
        return base
    return {key: value for key, value in base.items() if key not in allowed.elsewhere(after)}


def blank(kind: Any) -> Any:
    """A stand-in of the right type, so that the rest of the recipe can still be looked at."""
    kind, may_be_none = optional(kind)
    allowed = sections(kind)
    if may_be_none or kind is Any:
        return None
    if allowed:
        hints = get_type_hints(allowed.members[0])
        return allowed.members[0](**{f.name: blank(hints[f.name]) for f in fields(allowed.members[0]) if required(f)})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return arguments[0]
    if origin is tuple:
        return tuple(blank(inner) for inner in arguments if inner is not Ellipsis)
    return (origin or kind)()


def describe(kind: Any) -> str:
    """What a value of this kind looks like, in words that complete "expected ..."."""
    kind, may_be_none = optional(kind)
    if may_be_none:
        return f"{describe(kind)} or null"
    allowed = sections(kind)
    if allowed:
        return allowed.describe()
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)} values, each {describe(arguments[0])}"
    if origin in (list, tuple):
        return f"a list, each entry {describe(arguments[0])}"
    if origin is dict:
        return f"a mapping from names to {describe(arguments[1])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Any: "anything"}
    return names[kind]


def not_allowed(data: Any, allowed: tuple[Any, ...]) -> str:
    """The sentence about a value that is not one of ``allowed``."""
    hint = did_you_mean(str(data), [str(choice) for choice in allowed])
    return f"{show(data)} is not allowed; allowed: {', '.join(map(str, allowed))}{hint}"


def show(data: Any) -> str:
    """A value as it is quoted in a sentence, cut where it is long."""
    if data is None:
        return "nothing (null)"
    text = repr(data)
    return text if len(text) <= 60 else f"{text[:57]}..."
