"""Synthetic aerial scenes: drawn with Pillow and numpy, known exactly, written in the published layouts."""

from skyeye.synth.write import write_scenes

__all__ = ["write_scenes"]
