"""Readers of own data, shards, archives and synthetic scenes."""
