"""What a person does to data sets before training: look, check, count, split, cut, put together."""
