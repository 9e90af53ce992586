"""The model behind lmms-eval answers as ``skyeye eval`` does, and refuses in words what it cannot do."""

import dataclasses
import importlib
import inspect
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from skyeye.errors import SkyEyeError
from skyeye.serve import harness as adapters

QUESTIONS = ("is there a plane ?", "where is the ship ?", "no")
GREEDY = {"max_new_tokens": 5, "temperature": 0, "do_sample": False, "num_beams": 1, "until": ["\n\n"]}


@pytest.fixture
def documents(files):
    """Three questions about each picture, one about two and one about none."""
    documents = [{"images": [file], "question": question} for question in QUESTIONS for file in files]
    return [*documents, {"images": files[:2], "question": "no"}, {"images": [], "question": "no"}]


@pytest.fixture
def model(lmms_eval, checkpoint, documents):
    model = lmms_eval.SkyEye(pretrained=str(checkpoint), device="cpu", batch_size="4")
    model.task_dict["t"] = {"test": documents}
    return model


def pictures(document):
    return [Image.open(file) for file in document["images"]]


def requests(lmms_eval, documents, settings=GREEDY, visuals=pictures, kind="generate_until"):
    """Requests as ``ConfigurableTask.construct_requests`` of lmms-eval 0.7.3 makes them."""
    return [
        lmms_eval.Instance(
            request_type=kind,
            arguments=(document["question"], dict(settings), visuals, number, "t", "test"),
            idx=0,
            metadata={"task": "t", "doc_id": number, "repeats": 1},
        )
        for number, document in enumerate(documents)
    ]


def test_answers_are_those_of_an_evaluation(lmms_eval, model, documents, expected):
    asked = requests(lmms_eval, documents)
    told = []
    model.cache_hook.add_partial = lambda *entry: told.append(entry)
    said = model.generate_until(asked)
    assert said == [expected(d["question"], d["images"], 5) for d in documents] and len(set(said)) > 8
    assert [(kind, settings, text) for kind, (_, settings), text in told] == [
        ("generate_until", GREEDY, text) for text in said
    ]
    assert model.generate_until([]) == []
    assert str(model.device) == "cpu" and model.rank == 0 and model.is_simple


def test_the_settings_of_a_task_are_followed(lmms_eval, model, documents, expected):
    whole = expected(documents[0]["question"], documents[0]["images"], 5)
    start, stop = whole[:1], whole[1:3]
    for settings, text in [
        ({**GREEDY, "until": stop}, start),
        ({**GREEDY, "until": ["never", "", stop]}, start),
        ({}, expected(documents[0]["question"], documents[0]["images"], 256)),
        ({"max_new_tokens": 5, "temperature": 0.7, "do_sample": False}, whole),
        ({"max_new_tokens": 2, "temperature": None, "num_beams": None, "until": None}, None),
    ]:
        (said,) = model.generate_until(requests(lmms_eval, documents[:1], settings))
        assert said == (text or expected(documents[0]["question"], documents[0]["images"], 2)), settings
    assert lmms_eval._Settings({"until": ["d", "b"]}, "t").cut("abcbdb") == "a"
    for settings, words in [
        ({"temperature": 0.7}, r"t: the task samples its answers \(temperature 0.7\)"),
        ({"temperature": "1.0", "do_sample": True}, "samples"),
        ({"num_beams": 3}, "t: the task wants beam search"),
    ]:
        with pytest.raises(SkyEyeError, match=words):
            model.generate_until(requests(lmms_eval, documents[:1], settings))


def test_only_pictures_are_shown(lmms_eval, model, documents, expected):
    for visual, words in [("a.mp4", "a video"), ({"array": []}, "sound"), (3, "no picture")]:
        with pytest.raises(SkyEyeError, match=f"the task shows {words}"):
            model.generate_until(requests(lmms_eval, documents[:1], visuals=lambda document, visual=visual: [visual]))
    (said,) = model.generate_until(requests(lmms_eval, documents[-1:], visuals=lambda document: None))
    assert said == expected("no", [], 5)


def test_rounds_are_asked_until_the_task_ends_them(lmms_eval, model, documents, files, expected):
    """The task decides what is shown and asked next, from all answers so far and its own state."""
    seen = []

    def rounds(document, previous_output=None, round_idx=None, previous_round_info=None):
        seen.append((document["question"], round_idx, previous_round_info, list(previous_output)))
        last = 1 if document["question"] == "no" else 2
        other = Image.open(files[2])
        question = f"no {previous_output[-1]}"
        return [other], question, round_idx == last, previous_output, (previous_round_info or 0) + 10

    asked = [documents[0], documents[6]]
    made = requests(lmms_eval, asked, kind="generate_until_multi_round")
    for request in made:
        context, settings, visuals, *document = request.arguments
        request.arguments = (context, settings, visuals, rounds, *document)
    model.task_dict["t"] = {"test": asked}
    said = model.generate_until_multi_round(made)
    first = [expected(d["question"], d["images"], 5) for d in asked]
    second = expected(f"no {first[0]}", files[2:], 5)
    assert said == [[first[0], second], [first[1]]]
    assert seen == [
        (QUESTIONS[0], 1, None, first[:1]),
        ("no", 1, None, first[1:]),
        (QUESTIONS[0], 2, 10, [first[0], second]),
    ]
    assert model.generate_until_multi_round([]) == []


def test_likelihoods_are_refused(lmms_eval, model, documents):
    with pytest.raises(SkyEyeError, match="t: the task compares likelihoods.*choose the generate_until form"):
        model.loglikelihood(requests(lmms_eval, documents[:1], kind="loglikelihood"))


def test_wrong_arguments_are_told(lmms_eval, checkpoint):
    for arguments, words in [
        ({"tasc": "vqa"}, r"--model_args: unknown arguments tasc \(known: pretrained, task\)"),
        ({"batch_size": "auto"}, "--batch_size: 'auto' is no number"),
        ({"batch_size": 0}, "--batch_size"),
        ({"task": "vqq"}, "unknown task"),
    ]:
        with pytest.raises(SkyEyeError, match=words):
            lmms_eval.SkyEye(pretrained=str(checkpoint), **{"device": "cpu", **arguments})


def test_the_task_identifier_is_an_argument(lmms_eval, checkpoint, documents, expected):
    model = lmms_eval.SkyEye(str(checkpoint), device="cpu", task="vqa", max_batch_size=None)
    model.task_dict["t"] = {"test": documents}
    (said,) = model.generate_until(requests(lmms_eval, documents[:1]))
    assert said == expected(f"[vqa] {QUESTIONS[0]}", documents[0]["images"], 5)


def test_cleaning_lets_go_of_the_model(model):
    model.clean()
    assert model._backend is None


def test_the_entry_point_names_the_class(lmms_eval):
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["entry-points"]["lmms_eval.models"]["skyeye"].split(":")
    manifest = getattr(importlib.import_module(module), function)()
    assert manifest == adapters.lmms_eval_manifest() and manifest.model_id == "skyeye"
    assert manifest.simple_class_path == "skyeye.serve.harness.lmms_eval.SkyEye"
    assert manifest.chat_class_path is None
    assert lmms_eval.__name__ + "." + lmms_eval.SkyEye.__name__ == manifest.simple_class_path


def test_the_stand_ins_have_the_signatures_of_the_kit(stand_ins):
    api = pytest.importorskip("lmms_eval.api.model", reason="lmms-eval is not installed", exc_type=ImportError)
    from lmms_eval.api.instance import Instance
    from lmms_eval.models.registry_v2 import ModelManifest

    assert api.lmms.__abstractmethods__ == stand_ins.lmms.__abstractmethods__
    for name in api.lmms.__abstractmethods__ | {"clean"}:
        parameters = [list(inspect.signature(getattr(c, name)).parameters) for c in (api.lmms, stand_ins.lmms)]
        assert parameters[0] == parameters[1], name
    for name in ("is_simple", "rank"):
        assert hasattr(api.lmms, name), name
    for real, ours in ((Instance, stand_ins.Instance), (ModelManifest, stand_ins.ModelManifest)):
        names = [field.name for field in dataclasses.fields(real)]
        assert {field.name for field in dataclasses.fields(ours)} <= set(names), real
    assert [f.name for f in dataclasses.fields(ModelManifest)] == [
        f.name for f in dataclasses.fields(stand_ins.ModelManifest)
    ]
