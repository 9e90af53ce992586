"""Readers of scene classification sets."""
