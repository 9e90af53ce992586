"""Boxes and polygons as numbers, and the texts in which they are written."""
