"""Readers of benchmarks whose published files hold questions with their truths."""
