"""Training: stages, the visible loop, optimiser and schedule, processes, run folders."""
