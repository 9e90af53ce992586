"""From the reference of an image to its pixels."""
