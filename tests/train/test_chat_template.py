"""A recipe that speaks by a chat template trains as all others do."""

from __future__ import annotations

import json

import pytest
import yaml

from skyeye.data.record import Turn
from skyeye.models.pretrained import open_checkpoint
from skyeye.train.run import train

TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}"
    "{{ '</s>\n' if message.role == 'assistant' else '\n' }}{% endfor %}"
    "{{ 'assistant: ' if add_generation_prompt }}"
)


def losses(folder) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def spoken(recipe):
    """A function that writes the recipe with a chat template; further settings are sections."""

    def write(**changes):
        model = yaml.safe_load(recipe().read_text())["model"]
        prompt = {"style": "chat_template", "chat_template": TEMPLATE, "system": "be brief"}
        return recipe(model={**model, "prompt": prompt}, **changes)

    return write


def test_separate_rows_learn_the_same_and_the_export_speaks_alike(spoken, tmp_path):
    for share in (True, False):
        run = spoken(output_dir=str(tmp_path / str(share)))
        last = train(run, [f"run.share_prefix={str(share).lower()}"])
    shared = losses(tmp_path / "True")
    assert shared == pytest.approx(losses(tmp_path / "False"), abs=2e-4)
    assert shared[3] < shared[0]
    _, processor = open_checkpoint(last)
    text = processor.tokenizer.decode([i for i in processor.builder.prompt(1, [Turn("where?", "")]) if i >= 0])
    assert text.split() == "system: be brief user: where? assistant:".split()
    assert processor.builder.style.ends() == ["</s>"]
