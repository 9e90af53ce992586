"""A trained model as a folder that one can hand on: its weights, a card, checksums; and the checks of such a folder."""
