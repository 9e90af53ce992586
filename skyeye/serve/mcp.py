"""``skyeye mcp``: a model as tools of an agent, by the Model Context Protocol over standard input and output."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from skyeye import __version__
from skyeye.errors import SkyEyeError
from skyeye.serve.answer import Answer
from skyeye.serve.model import Model
from skyeye.serve.pictures import show
from skyeye.serve.roots import resolve_inside

Found = TypeVar("Found")
ImageName = Annotated[str, Field(description="path of an image file in one of the allowed folders")]
_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_NONE = {"no", "none", "nothing"}


class Place(BaseModel):
    """Something that was located."""

    label: str
    box: list[float] = Field(description="x1, y1, x2, y2 in pixels")
    polygon: list[list[float]] | None = Field(description="corners [x, y] in pixels of an oriented box; null: upright")
    longitude_latitude: list[list[float]] | None = Field(description="its corners on the map, where the file has one")


class Said(BaseModel):
    """What the model says."""

    text: str
    places: list[Place]


class Located(BaseModel):
    """Where something is."""

    places: list[Place]
    width: int = Field(description="of the image in pixels")
    height: int


class Class(BaseModel):
    """A class, and the model's loss for each token of its name: lower is likelier."""

    name: str
    loss: float


class Classified(BaseModel):
    """The likeliest class, and all of them in order."""

    name: str
    ranking: list[Class]


class Counted(BaseModel):
    """How many there are."""

    count: int | None = Field(description="null: the answer is no number")
    text: str = Field(description="the answer as the model gave it")


class Tools:
    """What an agent may ask of a model. One question is answered at a time.

    Args:
        folders: whose images may be named.
    """

    def __init__(self, model: Model, folders: Sequence[Path]):
        self.model, self.folders = model, folders
        self._lock = threading.Lock()

    def describe(self, image: ImageName, detailed: bool = False) -> str:
        """Describe an aerial or satellite image in words."""
        if detailed:
            return self._ask(image, "Describe this image in detail.", "detail").text
        return self._ask(image, "briefly describe the image", "caption").text

    def ask(self, image: ImageName, question: Annotated[str, Field(min_length=1)]) -> Said:
        """Ask a question about an image in plain words; what the answer names with a place is listed."""
        answer = self._ask(image, question, "vqa")
        return Said(text=answer.text, places=_places(answer))

    def locate(
        self, image: ImageName, what: Annotated[str, Field(description='words for it, e.g. "the white plane"')]
    ) -> Located:
        """Where something is in an image, as boxes in pixels; nothing found: no places."""
        answer = self._ask(image, what, "refer")
        width, height = answer.image.size if answer.image else (0, 0)
        return Located(places=_places(answer), width=width, height=height)

    def classify(self, image: ImageName, classes: Annotated[list[str], Field(min_length=1)]) -> Classified:
        """Which of the given classes an image is of."""
        question = f"Classify the image within one of the given classes: {', '.join(classes)}."
        question += " Answer with one word or short phrase."
        ranked = self._locked(lambda: self.model.rank(self._image(image), question, classes, task="classification"))
        ranking = [Class(name=each.text, loss=round(each.mean, 4)) for each in ranked]
        return Classified(name=ranking[0].name, ranking=ranking)

    def count(
        self, image: ImageName, what: Annotated[str, Field(description='in the plural, e.g. "ships"')]
    ) -> Counted:
        """How many of something are in an image."""
        text = self._ask(image, f"how many {what} are there ?", "vqa").text
        return Counted(count=read_number(text), text=text)

    def _ask(self, image: str, question: str, task: str) -> Answer:
        return self._locked(lambda: self.model.ask(self._image(image), question, task=task))

    def _image(self, name: str) -> Any:
        return show(resolve_inside(name, self.folders))

    def _locked(self, work: Callable[[], Found]) -> Found:
        try:
            with self._lock:
                return work()
        except SkyEyeError as error:
            raise ToolError(str(error)) from error


def read_number(text: str) -> int | None:
    """The number that an answer gives, in digits or as a word; None: it gives none, or several."""
    words = re.findall(r"[a-z]+|\d+", text.lower())
    found = {int(word) for word in words if word.isdecimal()}
    found |= {_NUMBERS.index(word) for word in words if word in _NUMBERS}
    found |= {0 for word in words if word in _NONE}
    return found.pop() if len(found) == 1 else None


def mcp_server(model: Model, folders: Sequence[Path]) -> MCPServer:
    """The server of a model.

    Args:
        folders: whose images may be named.
    """
    tools = Tools(model, folders)
    named = ", ".join(map(str, folders))
    instructions = f"A vision-language model of aerial and satellite images. It reads image files in: {named}."
    server = MCPServer("skyeye", version=__version__, instructions=instructions, log_level="WARNING")
    for tool in (tools.describe, tools.ask, tools.locate, tools.classify, tools.count):
        server.add_tool(tool)
    return server


def _places(answer: Answer) -> list[Place]:
    features = [None] * len(answer.boxes)
    if answer.place is not None:
        features = answer.to_geojson()["features"]
    return [
        Place(
            label=box.label,
            box=list(box.box),
            polygon=None if box.polygon is None else [list(corner) for corner in box.polygon],
            longitude_latitude=feature and feature["geometry"]["coordinates"][0][:-1],
        )
        for box, feature in zip(answer.boxes, features, strict=True)
    ]
