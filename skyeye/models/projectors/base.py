"""What every projector declares; a new kind is a file here, a section in the schema and a line in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from skyeye.errors import SkyEyeError


class Projector(nn.Module):
    """Alignment layer: vision tokens (N, n, width) -> (N, tokens_per_image, hidden_size) embeddings.

    Attributes:
        settings: dataclass of its section in a recipe, see :mod:`skyeye.config.schema`.
        reads_text: the image tokens depend on the question, so no two questions can share them; ``forward`` takes the
            (N, L) ids of the images' questions (:mod:`skyeye.data.questions`) as its second argument; None: none.
        reads_prefix: class tokens are among the vision tokens that ``forward`` gets.
        reads_levels: ``forward`` takes a list of levels, each (N, n, width), instead of one tensor with the levels side
            by side.
    """

    settings: ClassVar[type]
    reads_text: ClassVar[bool] = False
    reads_prefix: ClassVar[bool] = False
    reads_levels: ClassVar[bool] = False

    def __init__(self, settings: Any, widths: Sequence[int], hidden_size: int):
        """Subclasses build their layers for levels of these ``widths`` and a language model of ``hidden_size``."""
        super().__init__()

    @classmethod
    def tokens_per_image(cls, settings: Any, grid: tuple[int, int]) -> int:
        """Image tokens made of a (rows, columns) grid of vision tokens.

        Raises:
            SkyEyeError: the settings do not fit the grid.
        """
        raise NotImplementedError

    @classmethod
    def token_grid(cls, settings: Any, grid: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) in which the image tokens lie over the picture.

        Raises:
            SkyEyeError: they have no place in the picture.
        """
        raise SkyEyeError(
            f"image tokens of {cls.__name__} have no place in the picture, so they cannot learn what is there",
            where="model.projector.type",
            remedy="leave alignment out of the stages, or choose a projector that keeps the grid",
        )

    @property
    def dtype(self) -> torch.dtype:
        """Precision it takes its tokens in."""
        return next(self.parameters()).dtype


def refuse_shared_prefix(projector: type[Projector]) -> None:
    """Refuse to let questions share the image tokens of a projector that reads the question.

    Raises:
        SkyEyeError: it does.
    """
    if projector.reads_text:
        raise SkyEyeError(
            "this projector reads the question: its image tokens are other ones for every question, so the questions"
            " about an image cannot share a prefix",
            where="model.projector, run.share_prefix",
            remedy="set run.share_prefix: false",
        )
