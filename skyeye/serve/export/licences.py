"""Licences of pretrained parts and data sets, as far as they are known here: what their publishers state."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "not known here: ask its publisher"


@dataclass(frozen=True)
class Licence:
    """What a publisher states.

    Attributes:
        words: as a person reads it.
        identifier: as the hub's metadata have it; None: it has no name there, or none is stated.
    """

    words: str
    identifier: str | None = None


#: A piece of the name of a pretrained part, in lower case -> its licence. The first that fits counts.
PARTS = {
    "vicuna-7b-v1.1": Licence("LLaMA 1, not for commercial use"),
    "vicuna": Licence("Llama 2 Community License", "llama2"),
    "llama-2": Licence("Llama 2 Community License", "llama2"),
    "llama-3": Licence("Meta Llama 3 Community License", "llama3"),
    "neural-chat": Licence("Apache-2.0", "apache-2.0"),
    "smollm2": Licence("Apache-2.0", "apache-2.0"),
    "dinov2": Licence("Apache-2.0", "apache-2.0"),
    "siglip": Licence("Apache-2.0", "apache-2.0"),
    "clip-vit": Licence("MIT", "mit"),
    "eva_vit_g": Licence("MIT, as EVA states it", "mit"),
    "bert-base": Licence("Apache-2.0", "apache-2.0"),
}
#: The same for data sets, by a piece of the name, format or path of a source of a recipe.
DATA = {
    "synthetic": Licence("drawn by skyeye data synth: none needed", "apache-2.0"),
    "rsvqa": Licence("CC-BY-4.0", "cc-by-4.0"),
    "vrsbench": Licence("CC-BY-4.0", "cc-by-4.0"),
    "dota": Licence("academic use only"),
}
#: Those under which a whole may be handed on as Apache-2.0.
_FREE = frozenset({"apache-2.0", "mit"})


def licence_of(names: list[str], table: dict[str, Licence]) -> Licence:
    """The licence of what has these names; :data:`UNKNOWN` where none is known."""
    said = " ".join(names).lower()
    return next((licence for piece, licence in table.items() if piece in said), Licence(UNKNOWN))


def of_the_whole(parts: list[Licence]) -> str:
    """The hub's identifier for a model of these parts and data: ``other`` where they cannot be brought under one."""
    identifiers = {part.identifier for part in parts}
    if identifiers <= _FREE:
        return "apache-2.0"
    strict = identifiers - _FREE
    return next(iter(strict)) or "other" if len(strict) == 1 else "other"
