"""Published layouts of weights, in and out; :mod:`skyeye.models.checkpoint` chooses among them."""
