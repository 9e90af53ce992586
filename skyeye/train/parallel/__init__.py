"""Several processes: Accelerate, DeepSpeed, loss scales, the build lock."""
