"""Readers of instruction sets."""
