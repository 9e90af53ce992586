"""A made world of aerial scenes: drawn with Pillow and numpy, known exactly, written in the published layouts."""

from skyeye.data.synth.publish import write_world

__all__ = ["write_world"]
