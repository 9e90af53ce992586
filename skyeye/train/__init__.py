"""Training: stages, the visible loop, optimiser and schedule, processes, run folders."""

import os

import torch

if not torch.cuda.is_available():
    # Accelerate imports DeepSpeed wherever it is installed, and DeepSpeed warns when it has to guess this.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
