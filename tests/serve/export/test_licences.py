"""What a whole may be handed on under."""

from __future__ import annotations

import pytest

from skyeye.serve.export.licences import DATA, PARTS, UNKNOWN, Licence, licence_of, of_the_whole


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("/models/Llama-2-7b-chat-hf", "llama2"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("lmsys/vicuna-7b-v1.5", "llama2"),
        ("eva_vit_g.pth", "mit"),
        ("runs/pocket_parts/smollm2-135m-instruct", "apache-2.0"),
    ],
)
def test_of_a_part(name, identifier):
    licence = licence_of([name], PARTS)
    assert licence.identifier == identifier and licence.is_known


@pytest.mark.parametrize("name", ["lmsys/vicuna-7b-v1.1", "my/vicuna", "meta-llama/Llama-3.1-8B", "some/other-model"])
def test_what_no_publisher_was_seen_to_state_is_not_known(name):
    licence = licence_of([name], PARTS)
    assert not licence.is_known and licence.identifier is None
    assert (licence == UNKNOWN) == ("vicuna" not in name)


@pytest.mark.parametrize("licence", [*PARTS.values(), *DATA.values()], ids=[*PARTS, *DATA])
def test_every_licence_names_its_source_or_where_to_look(licence):
    if licence.is_known:
        assert licence.source.startswith("https://") or licence == DATA["synthetic"]
    else:
        assert licence.source.startswith("look at https://") and licence.identifier is None


def test_of_data_by_name_format_or_path():
    assert licence_of(["mine", "llava", "data/FIT_RS/x.json"], DATA).identifier == "cc-by-nc-4.0"
    assert licence_of(["mine", "llava", "data/DOTA-v1"], DATA).words == "academic use only"
    assert not licence_of(["mine", "rsvqa", "data/x"], DATA).is_known


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
