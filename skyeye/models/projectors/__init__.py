"""Projectors by the ``type`` of their section in a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyeye.models.projectors.base import Projector, refuse_shared_prefix
from skyeye.models.projectors.linear import LinearProjector
from skyeye.models.projectors.mlp import MLPProjector
from skyeye.models.projectors.pooler import NovaPoolerProjector, PoolerProjector
from skyeye.models.projectors.qformer import QFormerProjector

__all__ = ["PROJECTORS", "Projector", "build_projector", "projector_settings", "refuse_shared_prefix"]

#: ``model.projector.type`` -> class.
PROJECTORS: dict[str, type[Projector]] = {
    "linear": LinearProjector,
    "mlp": MLPProjector,
    "pooler": PoolerProjector,
    "nova_pooler": NovaPoolerProjector,
    "qformer": QFormerProjector,
}


def projector_settings(fields: Mapping[str, Any] | None) -> Any:
    """The typed section of a projector from its fields; what is missing is the reference's."""
    fields = fields or {}
    return PROJECTORS[fields.get("type", "linear")].settings(**fields)


def build_projector(fields: Mapping[str, Any], widths: Sequence[int], hidden_size: int) -> Projector:
    """A projector with fresh weights.

    Args:
        fields: of its section.
        widths: of the levels that the towers give.
        hidden_size: of the language model.
    """
    return PROJECTORS[fields["type"]](projector_settings(fields), widths, hidden_size)
