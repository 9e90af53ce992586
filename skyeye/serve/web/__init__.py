"""The page: ``skyeye web CHECKPOINT``. Gradio shows it (``pip install skyeye[web]``)."""
