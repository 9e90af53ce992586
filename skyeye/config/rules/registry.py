"""Which rules hold for which section."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from skyeye.config.issue import Issue

#: Looks at one section; the paths of its issues begin inside that section.
Rule = Callable[[Any], Iterator[Issue]]

RULES: dict[type, list[Rule]] = {}


def rule(*sections: type) -> Callable[[Rule], Rule]:
    """Decorator: the function holds for these classes of the schema."""

    def register(function: Rule) -> Rule:
        for section in sections:
            RULES.setdefault(section, []).append(function)
        return function

    return register


def check(section: object) -> list[Issue]:
    """What the rules of its class say about one section; the sections inside it are not looked at."""
    return [issue for holds in RULES.get(type(section), ()) for issue in holds(section)]


def below(section: object, least: float, *names: str) -> Iterator[Issue]:
    """An issue for each named setting that is given and below ``least``."""
    for name in names:
        value = getattr(section, name)
        if value is not None and value < least:
            yield Issue(name, f"{value} is below {least}", (name,))
