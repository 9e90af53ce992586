"""What a check collects about one source: counts, and of every kind the first few places."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from skyeye.data.formats.base.problems import Problem

EXAMPLES = 5  # places kept of each kind

#: Findings that make a check fail. Whatever else is found is a note, and so is what a reader skipped by rule.
ERRORS = frozenset(
    {
        "empty answer",
        "empty question",
        "template leftover",
        "broken character",
        "unbalanced phrase",
        "malformed box",
        "box outside the image",
        "inverted box",
        "image in training and evaluation",
        "same pixels in training and evaluation",
        "source cannot be read",
        "unreadable image",
        "no record",
        "box left in the text",
    }
)


@dataclass
class Kind:
    """How often something was found, whether it is an error, and where it was found first."""

    error: bool
    count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(self, where: str, what: str, count: int = 1) -> None:
        self.count += count
        if len(self.examples) < EXAMPLES:
            self.examples.append({"where": where, "what": what})

    def as_json(self) -> dict[str, Any]:
        return {"severity": "error" if self.error else "note", "count": self.count, "examples": self.examples}


@dataclass
class Tally:
    """One source of a check. ``reported``: records that do not come out; ``findings``: about records that do."""

    records_out: int = 0
    reported: dict[str, Kind] = field(default_factory=dict)
    findings: dict[str, Kind] = field(default_factory=dict)
    splits: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)

    def report(self, kind: str, where: str, what: str, *, error: bool = True, count: int = 1) -> None:
        """Records that were skipped."""
        known = self.reported.setdefault(kind, Kind(error))
        known.error = known.error or error  # one broken record of a kind makes it an error
        known.add(where, what, count)

    def find(self, kind: str, where: str, what: str, count: int = 1) -> None:
        """Something about records that stay, or about files that no record names."""
        self.findings.setdefault(kind, Kind(kind in ERRORS)).add(where, what, count)

    def problem(self, problem: Problem) -> None:
        """What a reader said; a remark that leaves nothing out (count 0) is a finding."""
        if problem.count:
            self.report(problem.kind, problem.where, problem.what, error=not problem.by_rule, count=problem.count)
        else:
            self.findings.setdefault(problem.kind, Kind(error=False)).add(problem.where, problem.what)

    @property
    def records_in(self) -> int:
        return self.records_out + sum(kind.count for kind in self.reported.values())

    @property
    def sound(self) -> bool:
        return not any(kind.error and kind.count for kind in (*self.reported.values(), *self.findings.values()))
