"""The eyes of a model: one tower or several, their levels, the pixels they take and the weights they start from."""

from __future__ import annotations

from skyeye.models.vision.joined import JoinedTowers, Vision, build_tower, vision_shape
from skyeye.models.vision.pixels import PixelTransform
from skyeye.models.vision.tower import VisionShape, VisionTower
from skyeye.models.vision.weights import load_vision_weights, resize_position_embedding

__all__ = [
    "JoinedTowers",
    "PixelTransform",
    "Vision",
    "VisionShape",
    "VisionTower",
    "build_tower",
    "load_vision_weights",
    "resize_position_embedding",
    "vision_shape",
]
