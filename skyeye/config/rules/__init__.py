"""What types do not say: one small function for every rule on a setting or between settings, a file per section.

A rule yields :class:`~skyeye.config.issue.Issue` with the settings it read, so that it is silent where one of them is
already in doubt. It must stand any value of the right type: other rules do not run before it.
"""

from __future__ import annotations

from skyeye.config.rules import contrastive, evaluation, mixture, model, optimizer, recipe, run, stage
from skyeye.config.rules.registry import RULES, Rule, check, rule
from skyeye.config.rules.unused import unused

__all__ = [
    "RULES",
    "Rule",
    "check",
    "contrastive",
    "evaluation",
    "mixture",
    "model",
    "optimizer",
    "recipe",
    "rule",
    "run",
    "stage",
    "unused",
]
