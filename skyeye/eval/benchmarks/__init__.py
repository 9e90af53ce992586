"""The benchmarks: each family has one small file; a new benchmark is one entry in its list (docs/benchmarks.md)."""

from skyeye.eval.benchmarks.base import Benchmark
from skyeye.eval.benchmarks.suites import BENCHMARKS, SUITES, available, chosen_benchmarks, describe, select

__all__ = ["BENCHMARKS", "SUITES", "Benchmark", "available", "chosen_benchmarks", "describe", "select"]
