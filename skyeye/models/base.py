"""Where the frozen parts of a checkpoint come from, when it does not hold them: ``base.json`` beside its weights.

An export of adapters is useless beside another base, and says nothing of it in its shapes: a fingerprint of the files
does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from skyeye.config.schema import ModelConfig
from skyeye.data.files import file_fingerprint, write_json
from skyeye.data.hub import local_path
from skyeye.errors import SkyEyeError
from skyeye.models.weights import open_safetensors

FILE = "base.json"
#: Files of a folder that hold weights; the others may be edited without making another model of it.
WEIGHTS = ("*.safetensors", "*.bin", "*.pth", "*.pt")


@dataclass(frozen=True)
class BasePart:
    """One frozen part: a vision tower's file, or a language model's folder.

    Attributes:
        source: path, or name on the hub.
        fingerprint: of its files (:func:`skyeye.data.files.file_fingerprint`); None: it was not on this machine.
    """

    source: str
    fingerprint: str | None

    @classmethod
    def of(cls, source: str) -> BasePart:
        """The part as it lies there now."""
        path = local_path(source)
        return cls(source, None if path is None else file_fingerprint(path, WEIGHTS))


@dataclass(frozen=True)
class Base:
    """The parts that a checkpoint leaves out; ``vision`` has an entry for each tower, None where the checkpoint holds
    it."""

    vision: tuple[BasePart | None, ...] = ()
    language: BasePart | None = None

    def __bool__(self) -> bool:
        return self.language is not None or any(part is not None for part in self.vision)

    def covers(self, name: str) -> bool:
        """Whether a tensor of this plain name is left out, as one of these parts."""
        if ".lora_" in name:
            return False
        if name.startswith("language_model."):
            return self.language is not None
        if name.startswith("vision_tower.towers."):
            number = int(name.split(".")[2])
            return number < len(self.vision) and self.vision[number] is not None
        if name.startswith("vision_norm."):  # it is never trained
            return bool(self)
        return name.startswith("vision_tower.") and bool(self.vision) and self.vision[0] is not None

    def write(self, folder: Path) -> None:
        """Write ``base.json``."""
        write_json(folder / FILE, asdict(self))


#: Of a checkpoint that holds everything.
NO_BASE = Base()


def read_base(folder: Path) -> Base:
    """The base of a checkpoint folder; an empty one where it holds everything.

    Raises:
        SkyEyeError: ``base.json`` is not what :meth:`Base.write` writes.
    """
    if not (folder / FILE).is_file():
        return NO_BASE
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        vision = tuple(None if part is None else BasePart(**part) for part in content["vision"])
        return Base(vision, None if content["language"] is None else BasePart(**content["language"]))
    except (ValueError, KeyError, TypeError) as error:
        what = f"is no description of a base: {type(error).__name__}: {error}"
        raise SkyEyeError(what, where=str(folder / FILE), remedy="export the model again") from error


def base_of(model: ModelConfig, frozen: set[str]) -> Base:
    """The base that a recipe names, of the parts (``vision``, ``language``) that its training leaves frozen."""
    vision = tuple(
        BasePart.of(tower.weights) if tower.weights and "vision" in frozen else None for tower in model.towers
    )
    named = model.language.pretrained if "language" in frozen and model.language.quantize is None else None
    return Base(vision if any(vision) else (), None if named is None else BasePart.of(named))


def replaced(base: Base, model: ModelConfig, where: str) -> Base:
    """The same parts at the places that a recipe names.

    Raises:
        SkyEyeError: one of them is not the part that the checkpoint was trained beside.
    """
    towers = model.towers
    vision = tuple(
        part and _same(part, towers[i].weights if i < len(towers) else None, f"vision tower {i}", where)
        for i, part in enumerate(base.vision)
    )
    language = base.language and _same(base.language, model.language.pretrained, "language model", where)
    return Base(vision, language)


def checked(part: BasePart, what: str, where: str) -> Path:
    """The place of a part on this machine.

    Raises:
        SkyEyeError: it is not there, is damaged, or is not the one that the checkpoint was trained beside.
    """
    path = local_path(part.source)
    if path is None:
        raise SkyEyeError(
            f"its {what} {part.source} is not there",
            where=where,
            remedy="put it there, or name a recipe that says where it is: --base RECIPE",
        )
    found = None if part.fingerprint is None else file_fingerprint(path, WEIGHTS)
    if found != part.fingerprint:
        for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
            if file.suffix == ".safetensors":
                with open_safetensors(file):  # one that is cut short is called that
                    pass
        raise SkyEyeError(
            f"its {what} {path} is another one than it was trained beside: fingerprint {found}, not {part.fingerprint}",
            where=where,
            remedy="give the files that it was trained with: --base RECIPE",
        )
    return path


def _same(part: BasePart, source: str | None, what: str, where: str) -> BasePart:
    if source is None:
        raise SkyEyeError(f"--base names no {what}", where=where, remedy="give the recipe that it was trained with")
    here = BasePart(source, part.fingerprint)
    checked(here, what, where)
    return here
