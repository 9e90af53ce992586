"""What a run tells while it goes on: progress, trackers, samples, benchmarks."""
