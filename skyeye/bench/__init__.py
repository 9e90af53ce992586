"""Measurements of speed and memory, each against the plain form of the same work, in one process."""
