"""Answers, many at once, with the questions about an image from one prefix."""
