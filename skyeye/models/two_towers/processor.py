"""Pictures and captions in, pixels and ids out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from skyeye.config.schema import ModelConfig
from skyeye.data.files import write_json
from skyeye.data.images.load import load_image
from skyeye.errors import SkyEyeError
from skyeye.models.two_towers.words import CaptionTokenizer, load_caption_tokenizer
from skyeye.models.vision import PixelTransform

_FILE = "two_towers_processor_config.json"


class TwoTowersProcessor:
    """What two towers are fed with.

    Attributes:
        words: captions -> ids.
        transform: picture -> pixels.
    """

    #: Numbers of boxes are no tokens here.
    box_token_ids = None

    def __init__(self, words: CaptionTokenizer, transform: PixelTransform):
        self.words, self.transform = words, transform

    @classmethod
    def from_config(cls, model: ModelConfig, words: CaptionTokenizer) -> TwoTowersProcessor:
        """The processor of a recipe's model."""
        return cls(words, PixelTransform.of(model.vision))

    @classmethod
    def from_pretrained(cls, folder: Path) -> TwoTowersProcessor:
        """That of :meth:`save_pretrained`.

        Raises:
            SkyEyeError: it is not there or damaged.
        """
        try:
            said = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            transform = PixelTransform(**said["transform"])
            context = int(said["context"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            remedy = "copy or export the checkpoint again"
            raise SkyEyeError(f"cannot be read: {error}", where=str(folder / _FILE), remedy=remedy) from error
        return cls(load_caption_tokenizer(folder, context), transform)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the tokenizer and how pixels are made."""
        self.words.save(Path(folder))
        write_json(Path(folder) / _FILE, {"transform": asdict(self.transform), "context": self.words.context}, indent=1)

    def pixels(self, reference: str) -> torch.Tensor:
        """Pixels float32 (3, S, S) of an image file."""
        return self.transform(load_image(reference))

    def caption_ids(self, texts: list[str]) -> torch.Tensor:
        """(N, T) ids."""
        return self.words(texts)
