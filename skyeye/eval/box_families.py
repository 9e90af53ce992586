"""How the models of the ecosystem are asked for boxes, and in which frame they write them: the only place that says it.

What is asked is written as the prompt of a benchmark (:attr:`skyeye.eval.benchmarks.Benchmark.prompt`), so it stands in
the protocol of every score. A name of :data:`skyeye.data.geometry.box_text.NOTATIONS` will do as well, with the
benchmark's own words; where both have a name, what stands here holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from skyeye.data.geometry.box_text import NOTATIONS
from skyeye.data.images.smart_resize import SmartResize
from skyeye.data.prompts.llava import DIALECTS
from skyeye.errors import SkyEyeError
from skyeye.eval.box_frame import ORDERS, Frame


@dataclass(frozen=True)
class BoxFamily:
    """A family of models that write boxes alike.

    Attributes:
        models: which they are, for messages and documentation.
        refer: the question for the one box of ``{phrase}``; None: as the benchmark asks.
        detection: for all boxes of ``{phrase}``.
        other: for boxes where the record has a question of its own, ``{question}``.
        frame: of the numbers; None: the notation that has the family's name.
        tags: what opens the question of a task.
        phrase: how words that boxes belong to are written.
    """

    models: str
    refer: str | None = None
    detection: str | None = None
    other: str | None = None
    frame: Frame | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    phrase: str = "{}"

    def prompt(self, benchmark_family: str) -> str | None:
        """What a benchmark of that family asks for boxes; None: its own words."""
        of = {"refer": self.refer, "phrase_grounding": self.detection, "detection": self.detection}
        return of.get(benchmark_family, self.other)


def _in_brackets(models: str, form: str, frame: Frame | None) -> BoxFamily:
    """A family that is told the form in plain words."""
    return BoxFamily(
        models,
        f"Give the bounding box of {{phrase}} in the image, as {form}.",
        f"Give the bounding boxes of all of these in the image: {{phrase}}. Write each as {form}.",
        f"{{question}} Write each bounding box as {form}.",
        frame,
    )


def _in_json(models: str, key: str, frame: Frame) -> BoxFamily:
    """A family that was trained to write objects of JSON with a box under ``key``."""
    return BoxFamily(
        models,
        f"Locate {{phrase}} in the image and output its {key} coordinates in JSON format.",
        f"Locate all of these in the image: {{phrase}}. Output the {key} coordinates of each in JSON format.",
        f"{{question}} Output the {key} coordinates of each in JSON format.",
        frame,
    )


_CORNERS = "[x1, y1, x2, y2]"
_THOUSANDTHS = Frame("0..1000", 1000.0)

#: What is asked of a family that is not known yet.
ANY = _in_brackets("any", _CORNERS, None)
FAMILIES: dict[str, BoxFamily] = {
    "qwen_absolute": _in_json(
        "Qwen2.5-VL: pixels of the resized image", "bbox_2d", Frame("pixels", None, resized=SmartResize())
    ),
    "norm1000": _in_json("Qwen3-VL", "bbox_2d", _THOUSANDTHS),
    "gemini": _in_json("Gemini: y before x", "box_2d", replace(_THOUSANDTHS, order=ORDERS[1])),
    "norm1": _in_brackets(
        "LLaVA-1.5 and others", f"{_CORNERS} in fractions of its width and height, from 0 to 1", Frame("0..1", 1.0)
    ),
    "pixels": _in_brackets("pixels of the original image", f"{_CORNERS} in pixels", Frame("pixels", None)),
    "geochat": BoxFamily(
        "GeoChat",
        "[refer] give me the location of <p> {phrase} </p>",
        "[refer] where are <p> {phrase} </p>",
        tags=DIALECTS["geochat"].tags,
        phrase=DIALECTS["geochat"].phrase,
    ),
}


def box_family(name: str, resized: SmartResize | None = None) -> BoxFamily:
    """The family of that name, or the models that write boxes in the notation of that name.

    Args:
        resized: how the model that is asked brings images to its size; None: as the published models do.

    Raises:
        SkyEyeError: there is neither.
    """
    if name in FAMILIES:
        family = FAMILIES[name]
        if resized is None or family.frame is None or family.frame.resized is None:
            return family
        return replace(family, frame=replace(family.frame, resized=resized))
    if name not in NOTATIONS:
        known = ", ".join(dict.fromkeys([*FAMILIES, *NOTATIONS]))
        raise SkyEyeError(f"unknown way of writing boxes {name!r}", where="--boxes", remedy=f"known: {known}, auto")
    return BoxFamily(f"boxes in {name}")
