"""Readers of annotated objects."""
