"""Who can be asked: a checkpoint of this project, a model of transformers (``hf:``), a server (``openai:``).

Each is checked first, as far as that takes no time, and opened when the data of the benchmarks are known to be right.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyeye.data.hub import local_path
from skyeye.data.images.smart_resize import SmartResize
from skyeye.data.prompts import PromptStyle
from skyeye.errors import SkyEyeError
from skyeye.eval.answers.boxes import AUTO
from skyeye.eval.box_families import ANY, BoxFamily, box_family
from skyeye.eval.files import PROCESSOR, PUBLISHED, WEIGHTS, checkpoint_fingerprint, fingerprint_with_base, origin
from skyeye.eval.other_style import OtherStyle
from skyeye.eval.question import asked
from skyeye.eval.settings import EvalSettings
from skyeye.generation.answerers import Answerer
from skyeye.generation.opening import Kind, kinds_given

if TYPE_CHECKING:
    from skyeye.generation.answerers.requests import Address

#: What opens the name of whoever is no checkpoint of this project.
LOCAL, SERVER = "hf:", "openai:"


@dataclass(frozen=True)
class Ready:
    """Somebody who is ready to be asked.

    Attributes:
        style: in whose words it is asked, and how it writes boxes.
        about: goes into ``scores.json``.
        key: names the folder of its answers; another one whenever these would be others.
        resized: how it brings images to the size that it reads, where that is known and follows Qwen's rule.
    """

    answerer: Answerer
    style: PromptStyle
    about: dict[str, Any]
    key: str
    resized: SmartResize | None = None


@dataclass(frozen=True)
class Candidate:
    """Somebody who can be asked.

    Attributes:
        name: for ``scores.json`` and reports.
        open: loads what is to be loaded.
        family: how boxes are asked for; None: as the benchmarks ask.
        kinds: what it gives (:func:`skyeye.generation.opening.kinds_given`).
    """

    name: str
    open: Callable[[], Ready]
    family: BoxFamily | None = None
    kinds: frozenset[Kind] = frozenset({"text"})


def candidate(name: str | Path, settings: EvalSettings) -> Candidate:
    """Whoever has that name.

    Args:
        name: a checkpoint, ``hf:NAME_OR_FOLDER`` or ``openai:URL#MODEL``.

    Raises:
        SkyEyeError: nobody has.
    """
    text = str(name)
    if text.startswith(LOCAL):
        return _local(text, settings)
    if text.startswith(SERVER):
        return _server(text, settings)
    return _own(Path(name), settings)


def _own(named: Path, settings: EvalSettings) -> Candidate:
    checkpoint = local_path(named) or named
    if settings.boxes is not None:
        what = "is a checkpoint of this project, which knows how it writes boxes"
        raise SkyEyeError(what, where=str(named), remedy="leave --boxes out")
    if not checkpoint.is_file() and not (checkpoint / "config.json").is_file():
        raise SkyEyeError(
            "holds no config.json, so it is no checkpoint directory",
            where=str(checkpoint),
            remedy="give a folder like runs/NAME/checkpoints/STAGE; hf:FOLDER for a model of another project",
        )
    kinds = kinds_given(checkpoint, settings.opening)
    return Candidate(str(checkpoint), lambda: _open_own(checkpoint, settings), kinds=kinds)


def _open_own(checkpoint: Path, settings: EvalSettings) -> Ready:
    # here, so that wrong names and missing data are told at once
    from skyeye.generation.answer import open_to_answer, open_to_embed
    from skyeye.generation.answerers.own import own_answerer

    weights = fingerprint_with_base(checkpoint, settings.opening)
    about = {**origin(checkpoint), "fingerprint": weights}
    opened = open_to_embed(checkpoint, settings.opening) or open_to_answer(checkpoint, settings.opening)
    answerer = own_answerer(*opened, settings.batch_size)
    about |= answerer.about
    return Ready(answerer, answerer.style, about, _own_key(checkpoint, weights, about))


def _own_key(checkpoint: Path, weights: str, about: Mapping[str, Any]) -> str:
    words = checkpoint_fingerprint(checkpoint, PROCESSOR)
    how = f"{about['dtype']}-{about['prompt_layout']}"
    return f"{weights[:16]}-{words[:8]}-{how}" + ("-adapters" if about["adapters_beside"] else "")


def _local(name: str, settings: EvalSettings) -> Candidate:
    source = name.removeprefix(LOCAL)
    folder = local_path(source) if source else None
    if folder is None or not folder.is_dir():
        remedy = f"give a folder, or fetch it first: hf download {source or 'NAME'}"
        raise SkyEyeError(
            "is no folder of this machine, and no name of the hub that was fetched", where=name, remedy=remedy
        )
    if not (folder / "config.json").is_file():
        raise SkyEyeError("holds no config.json", where=name, remedy="give a folder that transformers opens")
    family = _family(settings)
    return Candidate(name, lambda: _open_local(folder, settings, family), family)


def _open_local(folder: Path, settings: EvalSettings, family: BoxFamily) -> Ready:
    from skyeye.generation.answerers.local import LocalAnswerer, resize_rule
    from skyeye.generation.answerers.local_loading import load_local

    weights = checkpoint_fingerprint(folder, (*WEIGHTS, *PUBLISHED, *PROCESSOR))
    dtype = settings.opening.dtype
    model, processor = load_local(folder, dtype, settings.opening.device)
    resized = resize_rule(processor)
    if family.frame is not None and family.frame.resized is not None and resized is None:
        what = "its processor does not resize images as Qwen's does, so its boxes are in no pixels of such an image"
        raise SkyEyeError(what, where=str(folder), remedy="--boxes auto finds out how it writes them")
    style = _style(settings, resized)
    answerer = LocalAnswerer(model, processor, lambda record: asked(record, style), batch_size=settings.batch_size)
    about = {"fingerprint": weights, **answerer.about}
    about |= {"dtype": dtype} if dtype in ("int8", "int4") else {}
    key = f"hf-{weights[:16]}-{about['dtype']}-{settings.boxes or AUTO}"
    return Ready(answerer, style, about, key, resized)


def _server(name: str, settings: EvalSettings) -> Candidate:
    from skyeye.generation.answerers.requests import KEY, parse_address
    from skyeye.generation.answerers.server import find_model

    opening = settings.opening
    for option, value, usual in (("--dtype", opening.dtype, "auto"), ("--device", opening.device, None)):
        if value != usual:
            raise SkyEyeError("is the server's own affair", where=option, remedy="set it where the server is started")
    key, family = os.environ.get(KEY), _family(settings)
    address = find_model(parse_address(name.removeprefix(SERVER)), key, settings.server)
    whole = f"{SERVER}{address.url}#{address.model}"
    return Candidate(whole, lambda: _open_server(address, key, settings), family)


def _open_server(address: Address, key: str | None, settings: EvalSettings) -> Ready:
    from skyeye.generation.answerers.server import ServerAnswerer

    style = _style(settings, None)
    answerer = ServerAnswerer(address, lambda record: asked(record, style), key=key, settings=settings.server)
    same = hashlib.sha256(f"{address.url} {address.model}".encode()).hexdigest()
    return Ready(answerer, style, answerer.about, f"openai-{same[:16]}-{settings.boxes or AUTO}")


def _family(settings: EvalSettings) -> BoxFamily:
    return ANY if settings.boxes in (None, AUTO) else box_family(settings.boxes)


def _style(settings: EvalSettings, resized: SmartResize | None) -> OtherStyle:
    if settings.boxes in (None, AUTO):
        return OtherStyle(ANY, None)
    return OtherStyle(box_family(settings.boxes, resized), settings.boxes)
