"""``torchrun --nproc_per_node=N -m skyeye.train RECIPE.yaml [key=value ...]``: the same run as ``skyeye train``."""

import sys

from skyeye.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
