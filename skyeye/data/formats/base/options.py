"""Whether the value of a reader's option is of the type that the reader's signature says."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    types.NoneType: "nothing (null)",
}


def fits(value: object, kind: Any) -> bool:
    """Whether a value of YAML is of an annotated type: a scalar, ``Sequence``, ``Mapping``, or a union of these."""
    if kind is Any:
        return True
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, arm) for arm in inner)
    if origin is Sequence:
        return isinstance(value, (list, tuple)) and all(fits(item, inner[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, dict) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(value, kind)


def describe(kind: Any) -> str:
    """The words for such a type: ``a number``, ``a list of text``."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(arm) for arm in inner)
    if origin is Sequence:
        return f"a list, each entry {describe(inner[0])}"
    if origin is Mapping:
        return f"names with values {{NAME: VALUE}}, each value {describe(inner[1])}"
    return _WORDS.get(kind, "anything")
