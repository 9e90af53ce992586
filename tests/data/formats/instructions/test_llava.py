import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.formats.instructions.llava import parse_llava
from skyeye.data.geometry.boxes import Box
from skyeye.data.prompts import MiniGPTv2
from skyeye.data.record import MARK, Mention, Turn
from skyeye.data.tasks import TASKS


def llava(question, answer, image="a.jpg", **more):
    conversations = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"image": image, "conversations": conversations, **more}


def parse(item, **arguments):
    return parse_llava(item, "train.json, record 7", id="7", source="set", **arguments)


def kind_of(item, **arguments):
    with pytest.raises(BadRecord) as error:
        parse(item, **arguments)
    assert str(error.value).startswith("train.json, record 7: ")
    return error.value.kind


@pytest.mark.parametrize(
    "question",
    [
        "<image>\n[vqa] how many ships?",
        "[vqa] how many ships?\n<image>",
        "<Img><ImageHere></Img> [vqa] how many ships?",
        "[vqa] how many ships?",
        "[VQA]how many ships?",
        "how many ships?",
        "<image>how many ships?",
    ],
)
def test_variants_of_a_question_give_one_record(question):
    record = parse(llava(question, "3"), task="vqa")
    assert record.turns == (Turn("how many ships?", "3", "vqa"),)
    assert (record.task, record.images, record.references["answer"]) == ("vqa", ("a.jpg",), "3")


def test_tag_of_the_record_wins_over_the_file():
    record = parse(llava("[refer] where is the ship?", "{<1><2><30><40>}"), task="vqa")
    assert record.task == "refer"
    assert record.references["phrase"] == "where is the ship?"
    assert [[round(v * 100) for v in box] for box in record.references["boxes"]] == [[1, 2, 30, 40]]


def test_caption_of_a_video_keeps_its_task_and_its_frames():
    record = parse(llava("[caption] describe the video", "a boat", image=["f1.jpg", "f2.jpg"]), task="video_caption")
    assert (record.task, record.images) == ("video_caption", ("f1.jpg", "f2.jpg"))


def test_text_and_ground_truth_instead_of_conversations():
    record = parse({"image": "a", "text": "what is seen?", "ground_truth": ["a ship", "one ship"]}, task="caption")
    assert record.turns == (Turn("what is seen?", "a ship", "caption"),)
    assert record.references == {"captions": ["a ship", "one ship"]}
    assert parse({"image": "a", "text": "how many?", "ground_truth": 3}, task="vqa").turns[0].answer == "3"


def test_classification_is_told_from_vqa_by_its_list_of_classes():
    question = "[vqa] Classify the image within one of the given classes: Storage Tanks, Pond. Answer it in a word."
    record = parse(llava(question, "Pond"))
    assert record.task == "classification"
    assert record.references == {"answer": "Pond", "classes": ["Storage Tanks", "Pond"]}


def test_conversation_of_several_tasks():
    item = llava("<image>\n[grounding] describe", "<p>a ship</p> {<1><2><3><4>} at sea")
    item["conversations"] += [{"from": "human", "value": "[vqa] how many?"}, {"from": "gpt", "value": "1"}]
    record = parse(item)
    assert record.task == "conversation"
    assert [MiniGPTv2().question(turn) for turn in record.turns] == ["[grounding] describe", "[vqa] how many?"]
    assert [region.phrase for region in record.regions] == ["a ship"]


def test_free_words():
    assert parse(llava("Describe this image in detail.", "A harbour.")).task == "detail"
    assert parse({"conversations": llava("What is a runway?", "A strip.")["conversations"]}).images == ()


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ("text", "not a record"),
        ({"image": "a"}, "no conversation"),
        ({"image": "a", "conversations": []}, "no conversation"),
        (llava("<image>", "3"), "no question"),
        (llava("[vqa] how many?", ""), "no answer"),
        (llava("[vqa] how many?", None), "no answer"),
        ({"image": "a", "text": "[vqa] how many?"}, "no answer"),
        ({"image": "a", "conversations": [{"from": "human", "value": "hello"}]}, "no answer"),
        ({"image": "a", "conversations": [{"from": "gpt", "value": "hello"}]}, "wrong turn"),
        ({"image": "a", "conversations": ["hello"]}, "wrong turn"),
        (llava("[vqa] how many?", "3", image=None), "no image"),
        (llava("<image> hello", "3", image=""), "no image"),
        (llava("hello", "3", image={"file": 1}), "no image"),
        (llava("[refer] where?", "at the top"), "no box"),
        (llava("[refer] where?", "{<1><2><3>}"), "malformed box"),
        (llava("[refer] where?", "{<10><20><101><30>}"), "box outside the image"),
        (llava("[refer] where?", "{<-1><20><10><30>}"), "box outside the image"),
        (llava("[refer] where?", "{<50><20><10><30>}"), "inverted box"),
        (llava("[identify] what is in {<50><20><10><30>}", "a ship"), "inverted box"),
    ],
)
def test_what_does_not_fit_is_told(item, kind):
    assert kind_of(item) == kind


def test_brackets_that_are_no_tag_are_words():
    for question in ("[A] yes [B] no. Is there a ship?", "[North] side: what is there?", "which [vqa] is it?"):
        record = parse(llava(question, "A"))
        assert record.turns == (Turn(question, "A", "conversation"),)
    text = '{"count": <n>} as JSON, {a<b}'
    assert parse(llava(text, text)).turns == (Turn(text, text, "conversation"),)


def test_unknown_tag_is_refused_where_tags_are_strict():
    with pytest.raises(BadRecord, match=r"unknown task tag \[vqua\]; did you mean 'vqa'") as error:
        parse(llava("[vqua] how many?", "3"), strict_tags=True)
    assert error.value.kind == "unknown tag"


def test_what_the_system_says_belongs_to_the_first_turn():
    item = llava("[vqa] how many?", "3", system="Be brief.")
    assert parse(item).turns == (Turn("how many?", "3", "vqa", system="Be brief."),)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["[vqa] ", "<image>", "{<1><2><3><4>}", "human", "gpt", "[refer] x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["image", "conversations", "from", "value", "text", "ground_truth"]), inner)
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([None, *TASKS]))
def test_any_json_is_a_record_or_a_bad_record(item, task):
    try:
        record = parse(item, task=task)
    except BadRecord:
        return
    assert record.task in TASKS
    assert all(MiniGPTv2().question(turn) and turn.answer for turn in record.turns)
    assert "<image>" not in record.turns[0].question


def test_boxes_become_numbers_and_are_written_again_as_they_were():
    ships = "<p>2 ships</p> {<10><29><30><57>}<delim>{<1><2><3><4>}"
    answer = f"{ships} and <p>a pier</p> near {{<5><6><7><8>}}{{<0><0><100><100>}}"
    (turn,) = parse(llava("[grounding] describe", answer)).turns
    assert turn.question == "describe" and turn.task == "grounding"
    assert turn.answer == f"{MARK} and {MARK} near {MARK}{MARK}"
    assert [(m.phrase, len(m.boxes)) for m in turn.mentions] == [("2 ships", 2), ("a pier", 0), (None, 1), (None, 1)]
    assert MiniGPTv2().answer(turn) == answer


def test_boxes_may_be_given_beside_the_text():
    place = Mention((Box(0.1, 0.2, 0.3, 0.4),))
    item = llava("[identify] what is at <box>?", "a ship")
    (turn,) = parse(item, mentions=[[place]]).turns
    assert turn == Turn(f"what is at {MARK}?", "a ship", "identify", (place,))
    assert kind_of(item, mentions=[[]]) == kind_of(item, mentions=[[place, place]]) == "malformed box"
    assert kind_of(llava("what is \ufffc ?", "a ship")) == "broken character"
