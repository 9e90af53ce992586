"""The feature cache: what a frozen vision tower sees of each picture, computed once and kept on disk.

``key.py``       what a cache is made from; anything else is refused, the difference in words
``contents.py``  a picture is known by its bytes, not by its name
``store.py``     the files: rows of fixed size, memory-mapped, and the index; many readers, one writer
``build.py``     computes what is missing; called by ``stage.py`` before a stage, by ``recipe.py`` from the command line
"""
