"""Shard sets: WebDataset tar files with an index, in which every image lies once with all its samples; docs/shards.md.

``pack.py`` writes a set (``spool.py``: records to disk, images to digests; ``write.py``: tar files and index),
``index.py`` opens one, ``groups.py`` reads it in any order, ``remote.py`` fetches one from a URL.
"""
