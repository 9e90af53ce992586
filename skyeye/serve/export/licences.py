"""Licences of pretrained parts and data sets: what their publishers state, and on which page.

The pages were read on 2026-11-26 or before.
"""

from __future__ import annotations

from dataclasses import dataclass

_NOT_KNOWN = "not known here"


@dataclass(frozen=True)
class Licence:
    """What a publisher states.

    Attributes:
        words: as a person reads it.
        identifier: as the hub's metadata have it; None: it has no name there, or none is known.
        source: the page on which it is stated; of one that is not known, where to look.
    """

    words: str
    identifier: str | None = None
    source: str = "ask its publisher"

    @property
    def is_known(self) -> bool:
        """Whether a statement of the publisher's was read."""
        return self.words != _NOT_KNOWN


UNKNOWN = Licence(_NOT_KNOWN)
_LLAMA_1 = "not for commercial use (LLaMA 1)"
_HUB = "https://huggingface.co/"
#: A piece of the name of a pretrained part, in lower case with hyphens -> its licence. The first that fits counts.
PARTS = {
    "vicuna-7b-v1.5": Licence("Llama 2 Community License", "llama2", f"{_HUB}lmsys/vicuna-7b-v1.5-16k"),
    "vicuna-13b-v1.5": Licence("Llama 2 Community License", "llama2", f"{_HUB}lmsys/vicuna-13b-v1.5"),
    "vicuna-7b-v1.3": Licence(_LLAMA_1, None, f"{_HUB}lmsys/vicuna-7b-v1.3"),
    "vicuna-13b-v1.3": Licence(_LLAMA_1, None, f"{_HUB}lmsys/vicuna-13b-v1.3"),
    # the card of 1.1 was not seen
    "vicuna": Licence(_NOT_KNOWN, None, f"look at {_HUB}lmsys: it depends on the version"),
    "huggyllama": Licence(_LLAMA_1, None, f"{_HUB}huggyllama/llama-7b"),
    # Meta's own pages ask for an account: these are copies of its notice
    "llama-2": Licence("Llama 2 Community License", "llama2", f"{_HUB}TheBloke/Llama-2-7B-Chat-GGUF/blob/main/Notice"),
    "llama-3-": Licence(
        "Meta Llama 3 Community License",
        "llama3",
        f"{_HUB}kevinkawchak/Meta-Llama-3-8B-Instruct-LoRA-R1/blob/main/Notice",
    ),
    "neural-chat-7b": Licence("Apache-2.0", "apache-2.0", f"{_HUB}Intel/neural-chat-7b-v3-3"),
    "smollm2": Licence("Apache-2.0", "apache-2.0", f"{_HUB}HuggingFaceTB/SmolLM2-135M-Instruct"),
    "dinov2": Licence("Apache-2.0", "apache-2.0", f"{_HUB}facebook/dinov2-small"),
    "siglip-so400m": Licence("Apache-2.0", "apache-2.0", f"{_HUB}google/siglip-so400m-patch14-384"),
    "clip-vit-large-patch14": Licence("MIT", "mit", "https://github.com/openai/CLIP/blob/main/LICENSE"),
    "eva-vit-g": Licence("MIT", "mit", "https://github.com/baaivision/EVA/blob/master/LICENSE"),
    "bert-base-uncased": Licence("Apache-2.0", "apache-2.0", f"{_HUB}google-bert/bert-base-uncased"),
}
#: The same for data sets, by a piece of the name, format or path of a source of a recipe.
DATA = {
    "synthetic": Licence("none needed: drawn by skyeye data synth", "apache-2.0", "skyeye's own LICENSE"),
    "vrsbench": Licence("CC-BY-4.0", "cc-by-4.0", "https://github.com/lx709/VRSBench#licensing-information"),
    "dota": Licence("academic use only", None, "https://captain-whu.github.io/DOTA/dataset.html"),
    "fit-rs": Licence("CC-BY-NC-4.0", "cc-by-nc-4.0", f"{_HUB}datasets/ll-13/FIT-RS"),
    # copies state CC-BY-4.0, one ODbL-1.0 beside it; the publisher's own page was not seen
    "rsvqa": Licence(_NOT_KNOWN, None, "look at https://rsvqa.sylvainlobry.com and https://zenodo.org/records/6344334"),
}
#: Those under which a whole may be handed on as Apache-2.0.
_FREE = frozenset({"apache-2.0", "mit"})


def licence_of(names: list[str], table: dict[str, Licence]) -> Licence:
    """The licence of what has these names; :data:`UNKNOWN` where none is known."""
    named = " ".join(names).lower().replace("_", "-")
    return next((licence for piece, licence in table.items() if piece in named), UNKNOWN)


def of_the_whole(parts: list[Licence]) -> str:
    """The hub's identifier for a model of these parts and data: ``other`` where they cannot be brought under one."""
    identifiers = {part.identifier for part in parts}
    if identifiers <= _FREE:
        return "apache-2.0"
    strict = identifiers - _FREE
    return next(iter(strict)) or "other" if len(strict) == 1 else "other"
