"""Readers of caption sets."""
