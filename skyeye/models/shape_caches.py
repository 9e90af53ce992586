"""What oneDNN keeps of products that it has computed: a kernel for every shape that was met, two megabytes each.

Packs have as many lengths as there are steps, so that a training run in bf16 on a CPU would grow by gigabytes: both of
the caches between torch and the kernels hold a thousand and more entries. A layer's handful of shapes is all that is
worth keeping. torch reads these limits when it first multiplies; what is set already stays.
"""

from __future__ import annotations

import os

#: Kernels that are kept: those of the linear layers of a step, forward and backward, for a few lengths.
KEPT = 128


def limit_kept_kernels() -> None:
    """To be called before the first product of the process."""
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(KEPT))
