"""Evaluation: benchmarks (data + protocol + metric), batched answers, controls, scores and report."""
