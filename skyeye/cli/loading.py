"""What the commands that load a model share."""

from __future__ import annotations


def hide_loading_bars() -> None:
    """Bars of transformers that fill in a tenth of a second would only break up what is told here."""
    from transformers.utils import logging

    import skyeye.models  # noqa: F401  comes before transformers: it makes torchvision importable

    logging.disable_progress_bar()
