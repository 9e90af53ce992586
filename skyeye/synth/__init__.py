"""A made world of aerial scenes: drawn with Pillow and numpy, known exactly, written in the published layouts."""

from skyeye.synth.write import write_world

__all__ = ["write_world"]
