"""A random model of a few thousand parameters that is asked, its processor, and a picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from skyeye.models.save import save_checkpoint
from skyeye.serve.model import Model


@pytest.fixture(scope="session")
def parts(small_parts):
    """Model and processor; it reads 120 tokens."""
    return small_parts


@pytest.fixture(scope="session")
def checkpoint(parts, tmp_path_factory):
    """The same model as a folder, for commands that run in a process of their own."""
    model, processor = parts
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_checkpoint(folder, model, model.state_dict(), processor=processor)
    return folder


@pytest.fixture
def model(parts):
    """To be asked."""
    return Model(*parts)


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))


@pytest.fixture
def says(model, monkeypatch):
    """A function: the model answers from a list, and what it was given is noted."""
    from skyeye.generation.requests import SharedAnswer

    def answers_from(texts):
        given, left = [], list(texts)
        encode = model.processor.tokenizer.encode

        def answer_groups(network, groups, *, rows, eos_token_id, **_):
            for number, group in enumerate(groups):
                for index in range(len(group.prompts)):
                    given.append((list(group.prompts[index]), group))
                    ids = [*encode(left.pop(0), add_special_tokens=False), eos_token_id[0]]
                    yield SharedAnswer(number, index, ids)

        monkeypatch.setattr("skyeye.serve.model.answer_groups", answer_groups)
        return given

    return answers_from
