"""Readers of referring expressions."""
