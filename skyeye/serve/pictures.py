"""Pictures that are asked about: read once, encoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from skyeye.data.images.georeference import Georeference, read_georeference
from skyeye.data.images.hashing import pixel_digest
from skyeye.data.images.load import load_image, to_rgb
from skyeye.data.images.stretch import stretched
from skyeye.data.record import Turn
from skyeye.errors import SkyEyeError
from skyeye.models.modeling import SkyEyeForConditionalGeneration
from skyeye.models.processing import SkyEyeProcessor

#: What may be asked about: an image reference (a path, ``scene.tif#bands=4,3,2``, ``clip.mp4#frame=12``), a picture in
#: memory, or its values (height, width), (height, width, 3).
Picture = str | Path | Image.Image | np.ndarray
#: Encoded pictures that are kept for further questions.
KEPT = 64


@dataclass(frozen=True)
class Shown:
    """A picture that is asked about.

    Attributes:
        image: in RGB, 8 bits a channel.
        place: where it lies on the map; None: unknown.
        name: its file, or ``image``.
    """

    image: Image.Image = field(repr=False)
    place: Georeference | None = None
    name: str = "image"

    @cached_property
    def digest(self) -> int:
        """The same for the same pixels."""
        return pixel_digest(self.image)

    def pixels(self, processor: SkyEyeProcessor) -> torch.Tensor:
        """What the model is given."""
        return processor.pixels(self.image)


@dataclass(frozen=True)
class Reduced:
    """A picture of which only the model's pixels are held: answers about it have no boxes."""

    given: torch.Tensor = field(repr=False)
    digest: int
    image: None = None
    place: None = None

    @classmethod
    def of(cls, shown: Shown, processor: SkyEyeProcessor) -> Reduced:
        """What is left of a picture."""
        return cls(shown.pixels(processor), shown.digest)

    def __reduce__(self) -> tuple[Callable, tuple[np.ndarray, int]]:
        return _reduced, (self.given.numpy(), self.digest)  # torch would write a whole file around the values

    def pixels(self, processor: SkyEyeProcessor) -> torch.Tensor:
        """What the model is given."""
        return self.given


def _reduced(given: np.ndarray, digest: int) -> Reduced:
    return Reduced(torch.from_numpy(given), digest)


def show(picture: Picture | Shown) -> Shown:
    """Read a picture.

    Raises:
        SkyEyeError: it cannot be read, or its values are no picture.
    """
    if isinstance(picture, Shown):
        return picture
    if isinstance(picture, np.ndarray):
        return Shown(_of_values(picture))
    if isinstance(picture, Image.Image):
        return Shown(to_rgb(picture))
    if not isinstance(picture, str | Path):
        what = f"{type(picture).__name__} is no picture"
        raise SkyEyeError(what, remedy="give a path, a PIL image, an array (height, width, 3), or a list of them")
    picture = picture.expanduser() if isinstance(picture, Path) else str(Path(picture).expanduser())
    return Shown(load_image(picture), read_georeference(picture), str(picture))


def show_all(pictures: Picture | Shown | Sequence[Picture | Shown] | None) -> tuple[Shown, ...]:
    """Read one picture, several, or none (None).

    Raises:
        SkyEyeError: as :func:`show`.
    """
    if pictures is None:
        return ()
    if isinstance(pictures, str | Path | Image.Image | np.ndarray | Shown) or not isinstance(pictures, Sequence):
        return (show(pictures),)
    return tuple(show(picture) for picture in pictures)


def _of_values(values: np.ndarray) -> Image.Image:
    """Values of 8 bits as they are; others stretched as those of files are."""
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 3) or 0 in values.shape or values.dtype.kind not in "uif":
        what = f"an array {values.dtype} {values.shape} is no picture"
        raise SkyEyeError(what, remedy="give numbers (height, width) or (height, width, 3)")
    bands = np.ma.masked_invalid(np.moveaxis(values, 2, 0)) if values.dtype.kind == "f" else np.moveaxis(values, 2, 0)
    return stretched(np.ma.asarray(bands), None, "array")


class EncodedPictures:
    """Image tokens of pictures, of the last :data:`KEPT` ones without computing them again.

    A projector that reads the question gets each picture anew, with its question.
    """

    def __init__(self, model: SkyEyeForConditionalGeneration, processor: SkyEyeProcessor):
        self.model, self.processor = model, processor
        self._kept: OrderedDict[int, torch.Tensor] = OrderedDict()

    def tokens(self, pictures: Sequence[Shown | Reduced], first: Turn) -> torch.Tensor | None:
        """(images, tokens_per_image, hidden_size); None: there are no pictures.

        Args:
            first: the turn that the pictures stand before.
        """
        if not pictures:
            return None
        asked = self.processor.builder.question_ids([(len(pictures), first)])
        if asked is not None:
            return self._encode(pictures, asked.to(self.model.device))
        self.encode(pictures)
        for picture in pictures:
            self._kept.move_to_end(picture.digest)
        return torch.stack([self._kept[picture.digest] for picture in pictures])

    def encode(self, pictures: Sequence[Shown | Reduced]) -> None:
        """Encode those that are not kept, together; all of these are kept, the oldest others go."""
        new = {picture.digest: picture for picture in pictures if picture.digest not in self._kept}
        if not new:
            return
        self._kept.update(zip(new, self._encode(list(new.values())), strict=True))
        wanted = {picture.digest for picture in pictures}
        for digest in [digest for digest in self._kept if digest not in wanted][: max(0, len(self._kept) - KEPT)]:
            del self._kept[digest]

    @torch.no_grad()
    def _encode(self, pictures: Sequence[Shown | Reduced], question_ids: torch.Tensor | None = None) -> torch.Tensor:
        pixels = torch.stack([picture.pixels(self.processor) for picture in pictures])
        # no inference mode: what a layer of the tower keeps for later passes has to serve training, too
        with torch.inference_mode(False):
            return self.model.encode_images(pixels.to(self.model.device), question_ids)
