"""``python -m skyeye.bench.full_size.load CHECKPOINT --base RECIPE``: memory of loading, against the weights."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import psutil

from skyeye.config.load import load_model
from skyeye.data.files import write_json
from skyeye.models.precision import DTYPES
from skyeye.models.pretrained import open_checkpoint

GIB = 2**30


def main(arguments: list[str] | None = None) -> int:
    """Open a checkpoint, and say what that took."""
    parser = argparse.ArgumentParser(prog="skyeye.bench.full_size.load")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bf16")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    start, began = psutil.Process().memory_info().rss, time.perf_counter()
    base, precision = load_model(given.base), DTYPES[given.dtype]
    model, _ = open_checkpoint(given.checkpoint, base=base, precision=precision, keep_adapters=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    found = {
        "seconds": round(time.perf_counter() - began, 1),
        "start_gib": round(start / GIB, 3),
        "peak_gib": round(peak / GIB, 3),
        "weights_gib": round(weights / GIB, 3),
        "load_over_weights": round((peak - start) / weights, 3),
    }
    print(json.dumps(found))
    if given.json:
        write_json(given.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
