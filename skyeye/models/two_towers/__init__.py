"""Two towers, one for pictures and one for texts, that meet in one space: CLIP and what was trained on from it."""

from __future__ import annotations

from skyeye.models.two_towers.model import TwoTowers, TwoTowersConfig
from skyeye.models.two_towers.processor import TwoTowersProcessor

__all__ = ["TwoTowers", "TwoTowersConfig", "TwoTowersProcessor"]
