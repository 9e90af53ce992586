"""``skyeye models``: the models of the field that are run, trained and measured here."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def models_commands(group: Callable, command: Callable) -> None:
    """Insert ``models list`` and ``models show NAME``."""
    models = group("models", "the models of the field, by name")
    command(models, "list", _list, "name, files, licence, memory, tasks, boxes and proof of each, as a table")
    show = command(models, "show", _show, "print the recipe of a model")
    show.add_argument("name", metavar="NAME", help="see skyeye models list")


def _list(options: argparse.Namespace) -> int:
    from skyeye.config.catalogue import PROOFS, not_reproducible, table

    print(table())
    print("\n" + "\n".join(f"{name}: {words}" for name, words in PROOFS.items()))
    print(not_reproducible())
    return 0


def _show(options: argparse.Namespace) -> int:
    from skyeye.config.catalogue import find_model

    print(find_model(options.name).path.read_text(encoding="utf-8"), end="")
    return 0
