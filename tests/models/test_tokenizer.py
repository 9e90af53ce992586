"""Token ids equal to SentencePiece's, and a learnt tokenizer that keeps every text."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from skyeye.data.sequence import pad_token_id
from skyeye.errors import SkyEyeError
from skyeye.models.tokenizer import PAD, box_token_ids, decode, load_tokenizer, train_tokenizer

GOLDEN = Path(os.environ.get("SKYEYE_GOLDEN") or Path(__file__).parents[1] / "golden")
SHARED = Path(os.environ.get("SKYEYE_SHARED") or Path(__file__).resolve().parents[2] / "../shared")
TEXTS = [
    "[vqa] is there a plane ?",
    "[refer] where is the red plane",
    "{<10><20><40><70>}",
    "<p>two ships</p> {<1><2><3><4>}<delim>{<5><6><77><100>} and a <p>road</p> {<0><0><9><9>}.",
    "[INST] <Img>",
    "</Img> [caption] describe this  [/INST]",
    "Several airplanes, 12 in all.",
]
#: Texts as a tokenizer meets them: anything but the special tokens and SentencePiece's own space.
any_text = st.text(max_size=60).filter(
    lambda text: "▁" not in text and not any(s in text for s in ("<s>", "</s>", "<unk>"))
)
likely_text = st.lists(st.sampled_from([*"aeinst <>[]{}/.?0123$\n", *" ".join(TEXTS).split(" ")]), max_size=20).map(
    "".join
)


@pytest.fixture(scope="module")
def tiny():
    return load_tokenizer(GOLDEN / "tiny_llama")


@pytest.fixture(scope="module")
def learnt():
    return train_tokenizer(TEXTS, vocab_size=700)


def assert_ids(tokenizer, cases):
    for case in cases:
        assert tokenizer.encode(case["text"], add_special_tokens=case["add_special_tokens"]) == case["ids"], case[
            "text"
        ]


@pytest.mark.golden
def test_ids_and_texts_of_the_tiny_tokenizer(tiny):
    expected = json.loads((GOLDEN / "tokens.json").read_text())
    assert_ids(tiny, expected["tiny"])
    assert pad_token_id(tiny, expected["tiny_pad_token"]) == expected["tiny_pad_token_id"]
    if expected["tiny_pad_token"] == PAD:  # any other is a setting of the prompt format
        assert (tiny.pad_token, tiny.pad_token_id) == (PAD, expected["tiny_pad_token_id"])
    for case in expected["decode"]:
        assert decode(tiny, case["ids"]) == case["text"]


@pytest.mark.golden
def test_ids_of_the_llama2_tokenizer():
    file = next(
        (f for f in (GOLDEN / "llama2_tokenizer.model", SHARED / "golden/llama2_tokenizer.model") if f.is_file()), None
    )
    if file is None:
        pytest.skip(
            "the LLaMA-2 tokenizer model is not on this machine: no llama2_tokenizer.model in SKYEYE_SHARED/golden"
        )
    expected = json.loads((GOLDEN / "tokens.json").read_text())
    assert hashlib.md5(file.read_bytes()).hexdigest() == expected["llama2_tokenizer_model_md5"]
    tokenizer = load_tokenizer(file)
    assert_ids(tokenizer, expected["llama2"])
    assert tokenizer.pad_token_id == expected["llama2_pad_token_id"]
    assert box_token_ids(tokenizer) is None


@pytest.mark.golden
@given(text=st.one_of(likely_text, any_text))
def test_ids_equal_sentencepiece(tiny, text):
    model = sentencepiece.SentencePieceProcessor(model_file=str(GOLDEN / "tiny_llama/tokenizer.model"))
    text = text.replace("\0", "")  # SentencePiece's own normaliser drops it
    assert tiny.encode(text, add_special_tokens=False) == model.encode(text)


@pytest.mark.golden
@given(numbers=st.lists(st.integers(3, 10_000), max_size=20))
def test_decoding_equals_sentencepiece_also_for_broken_characters(tiny, numbers):
    model = sentencepiece.SentencePieceProcessor(model_file=str(GOLDEN / "tiny_llama/tokenizer.model"))
    ids = [3 + number % (len(tiny) - 3) for number in numbers]
    assert decode(tiny, ids) == model.decode(ids)


def test_each_byte_of_a_broken_character_is_one_sign(learnt):
    ids = learnt.convert_tokens_to_ids(["▁a", "<0xE9>", "<0xA3>", "b", "<0xC3>", "<0xA9>", "<0xA9>"])
    assert decode(learnt, ids) == "a\ufffd\ufffdbé\ufffd"


@pytest.mark.golden
def test_a_saved_tokenizer_is_the_same(tiny, learnt, tmp_path):
    texts = [*TEXTS, "price $$ 5$$ x</s>", "?  [/INST]", "<s>[INST] a"]
    for number, tokenizer in enumerate([tiny, learnt]):
        tokenizer.save_pretrained(tmp_path / str(number))
        again = load_tokenizer(tmp_path / str(number))
        copies = [again, pickle.loads(pickle.dumps(tokenizer))]
        for copy in copies:
            assert [copy.encode(text) for text in texts] == [tokenizer.encode(text) for text in texts]
            assert (copy.pad_token_id, copy.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
        assert box_token_ids(again) == box_token_ids(tokenizer)
        by_transformers = AutoTokenizer.from_pretrained(tmp_path / str(number))
        assert [by_transformers.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
        assert by_transformers.pad_token_id == tokenizer.pad_token_id


@given(text=st.one_of(likely_text, any_text))
def test_a_learnt_tokenizer_keeps_every_text(learnt, text):
    ids = learnt.encode(text, add_special_tokens=False)
    assert decode(learnt, ids) == text
    assert learnt.decode(ids) == text
    assert learnt.unk_token_id not in ids


def test_words_numbers_and_tags_of_a_learnt_tokenizer_are_single_tokens(learnt):
    def pieces(text):
        return learnt.convert_ids_to_tokens(learnt.encode(text, add_special_tokens=False))

    assert pieces("[vqa] is there a plane ?") == ["▁[vqa]", "▁is", "▁there", "▁a", "▁plane", "▁?"]
    assert pieces("{<10><20><40><70>}") == ["▁{", "<10>", "<20>", "<40>", "<70>", "}"]
    assert pieces("[INST] <Img>") == ["▁[INST]", "▁<Img>"]
    assert pieces("</Img> [refer] red  [/INST]") == ["▁</Img>", "▁[refer]", "▁red", "▁", "▁[/INST]"]
    assert pieces("</p> {") == ["▁</p>", "▁{"]
    assert pieces("at <10> <20>") == ["▁", "a", "t", "▁", "<10>", "▁", "<20>"]
    assert pieces("red reds") == ["▁red", "▁", "r", "e", "d", "s"]
    assert pieces("<101>") == ["▁", "<", "1", "0", "1", ">"]
    assert learnt.convert_ids_to_tokens(box_token_ids(learnt)) == [f"<{n}>" for n in range(101)]


def test_without_box_tokens_numbers_go_digit_by_digit():
    tokenizer = train_tokenizer(TEXTS, vocab_size=700, box_tokens=False)
    ids = tokenizer.encode("{<10>}", add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁{", "<", "1", "0", ">", "}"]
    assert box_token_ids(tokenizer) is None


def test_learning_does_not_depend_on_the_order_of_the_texts():
    first = train_tokenizer(TEXTS, vocab_size=520)
    second = train_tokenizer(iter(TEXTS[::-1]), vocab_size=520)
    assert first.get_vocab() == second.get_vocab()


def test_the_most_frequent_words_get_the_places():
    room = len(train_tokenizer([], vocab_size=10_000))
    tokenizer = train_tokenizer(["ship ship plane", "ship plane road"], vocab_size=room + 2)
    assert len(tokenizer) == room + 2
    ids = {word: len(tokenizer.encode(word, add_special_tokens=False)) for word in ("ship", "plane", "road")}
    assert ids == {"ship": 1, "plane": 1, "road": 5}


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(SkyEyeError, match="model.tokenizer.train_vocab_size: 300 pieces have no room"):
        train_tokenizer(TEXTS, vocab_size=300)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x0a\x05\x0a\x03abc"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(SkyEyeError, match=r"tokenizer\.model: "):
        load_tokenizer(tmp_path / "tokenizer.model")


@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json"])
def test_a_damaged_directory_is_refused(learnt, tmp_path, name):
    learnt.save_pretrained(tmp_path)
    (tmp_path / name).write_text('{"version": ')
    with pytest.raises(SkyEyeError, match="no tokenizer could be read") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_nothing_there_is_said_in_words(tmp_path):
    with pytest.raises(SkyEyeError, match="no such tokenizer"):
        load_tokenizer(tmp_path / "none")
    with pytest.raises(SkyEyeError, match="no tokenizer could be read"):
        load_tokenizer(tmp_path)


def test_a_sentencepiece_model_of_another_kind_is_refused(tmp_path):
    texts = iter(["a plane is parked near the terminal", "two ships are in the harbor"] * 20)
    prefix = tmp_path / "other"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=texts, model_prefix=str(prefix), vocab_size=28, model_type="unigram", minloglevel=2
    )
    with pytest.raises(SkyEyeError, match="not a LLaMA-style BPE"):
        load_tokenizer(f"{prefix}.model")


def test_a_hub_name_is_looked_up_there(learnt, tmp_path, monkeypatch):
    learnt.save_pretrained(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, allow_patterns: str(tmp_path))
    monkeypatch.setattr("skyeye.models.tokenizer.hub_is_reachable", lambda: True)
    assert load_tokenizer("somebody/some-model").get_vocab() == learnt.get_vocab()

    def offline(name, allow_patterns):
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(SkyEyeError, match="somebody/some-model: .*hub"):
        load_tokenizer("somebody/some-model")
