"""What a whole may be handed on under."""

from __future__ import annotations

import pytest

from skyeye.serve.export.licences import DATA, PARTS, UNKNOWN, Licence, licence_of, of_the_whole


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/models/Llama-2-7b-chat-hf", "Llama 2 Community License"),
        ("lmsys/vicuna-7b-v1.1", "LLaMA 1, not for commercial use"),
        ("lmsys/vicuna-7b-v1.5", "Llama 2 Community License"),
        ("eva_vit_g.pth", "MIT, as EVA states it"),
        ("some/other-model", UNKNOWN),
    ],
)
def test_of_a_part(name, words):
    assert licence_of([name], PARTS).words == words


def test_of_data_by_name_format_or_path():
    assert licence_of(["mine", "rsvqa", "data/x"], DATA).identifier == "cc-by-4.0"
    assert licence_of(["mine", "llava", "data/DOTA-v1"], DATA).words == "academic use only"


@pytest.mark.parametrize(
    ("identifiers", "whole"),
    [
        ([], "apache-2.0"),
        (["mit", "apache-2.0"], "apache-2.0"),
        (["mit", "llama2"], "llama2"),
        (["llama2", "cc-by-4.0"], "other"),
        (["mit", None], "other"),
    ],
)
def test_of_the_whole(identifiers, whole):
    assert of_the_whole([Licence("x", identifier) for identifier in identifiers]) == whole
