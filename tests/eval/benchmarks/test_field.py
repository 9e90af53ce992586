"""The benchmarks of the field on files in their published layouts: read, and scored by perfect, shuffled and constant
answers with the value that arithmetic gives."""

import json
from collections import Counter

import pytest
from PIL import Image

from skyeye.data.formats.base.problems import Problem
from skyeye.eval.benchmarks import BENCHMARKS
from skyeye.eval.question import PROTOCOL_STYLE, asked
from skyeye.eval.score_predictions import answers_of

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def talk(question, answer, **more):
    said = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"conversations": said, **more}


def picture(path, size=(100, 100)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (len(str(path)) % 256, 5, 5)).save(path)


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def vrsbench(root):
    rows = [("small ship", "{<10><10><30><30>}", True), ("large ship", "{<50><50><90><90>}", False)]
    refer = [
        {"image_id": "P1.png", "question": q, "ground_truth": box, "question_id": n, "is_unique": unique}
        for n, (q, box, unique) in enumerate(rows)
    ]
    kinds = [("object existence", "Yes"), ("object quantity", "3"), ("object color", "red"), ("scene type", "harbor")]
    questions = [
        {"image_id": "P1.png", "question": f"q{n}?", "ground_truth": a, "question_id": n, "type": kind}
        for n, (kind, a) in enumerate(kinds)
    ]
    captions = [
        {"image_id": f"P{n}.png", "question": "d", "ground_truth": c, "question_id": n}
        for n, c in ((1, "a harbor with many boats in the sun"), (2, "two green fields beside a long grey road"))
    ]
    put(root / "VRSBench/VRSBench_EVAL_referring.json", refer)
    put(root / "VRSBench/VRSBench_EVAL_vqa.json", questions)
    put(root / "VRSBench/VRSBench_EVAL_Cap.json", captions)
    for name in ("P1", "P2"):
        picture(root / f"VRSBench/Images_val/{name}.png")


def choices(root):
    (root / "XLRS-Bench-lite/data").mkdir(parents=True)
    picture(root / "x.png")
    held = {"bytes": (root / "x.png").read_bytes(), "path": "x.png"}
    (root / "x.png").unlink()
    rows = {
        "question": ["where?", "which?"],
        "multi-choice options": [["(A) left", "(B) right", "(C) top", "(D) bottom"], ["(A) road", "(B) river"]],
        "answer": ["B", "A"],
        "category": ["Position", "Land use"],
        "image": [held, held],
    }
    pq.write_table(pa.table(rows), root / "XLRS-Bench-lite/data/train-00000-of-00001.parquet")
    row = {"question_id": "7", "options_list": ["corn", "wheat", "rice", "rye", "oat"], "options": "A. corn B. wheat"}
    row |= {
        "ground_truth_option": "C",
        "ground_truth": "rice",
        "cls_description": "",
        "prompts": ["Which crop?", "Crop?"],
    }
    put(root / "GEOBench-VLM/Single/qa.json", [{**row, "image_path": "Single/images/a.png", "task": "Crop Type"}])
    pair = ["Temporal/images/pre.png", "Temporal/images/mid.png", "Temporal/images/post.png"]
    put(root / "GEOBench-VLM/Temporal/qa.json", [{**row, "image_path": pair, "task": "Disaster"}])
    for name in ("Single/images/a.png", *pair):
        picture(root / "GEOBench-VLM" / name)
    pairs = [
        {"question": "What is it?", "choices": "A. a ship; B. a plane; C. a car", "answer": "B.", "type": ["1", "2"]},
        {"question": "How many?", "choices": "A. 1; B. 2; C. 3", "answer": "A.", "type": ["2"]},
    ]
    data = {
        "data": [{"filename": "1.png", "qa_pairs": pairs}],
        "qtype": {"1 identity": 1, "2 quantity": 2},
        "img_num": 1,
    }
    put(root / "LHRS-Bench/qa.json", data)
    picture(root / "LHRS-Bench/imgs_png/1.png")


def vhm(root):
    options = "A. upper left B. upper right C. lower left D. lower right"
    classes = "Classify the image within one of the given classes: Farm, Port. Answer with one word or short phrase."
    files = {
        "presence_mo_dota": [("Is there a ship?", "Yes"), ("Is there a car?", "No")],
        "color_dota-test_fair1m-val_open": [("colour?", "red, white"), ("colour?", "blue")],
        "abspos_dota-test_mc": [(f"where? {options}", "B"), (f"where is it? {options}", "C")],
        "counting_dota-test_open": [("how many?", "4"), ("how many?", "10")],
        "gsd_dota_fbp": [("resolution?", "0.5m"), ("resolution?", "4m")],
        "obj_meas_dota_test": [("size?", "length 20m, width 10m")],
        "cls_AID": [(classes, "Farm"), (classes, "Port")],
        "color_false_dota-test_random_open": [("colour of the ship?", "There is no ship.")] * 2,
        "relpos_false_dota-test_popula_mc": [(f"where? {options}", "D")],
    }
    for name, said in files.items():
        rows = [talk(q, a, image=f"{n}.png", image_path=name) for n, (q, a) in enumerate(said)]
        put(root / f"VHM_eval/{name}.json", rows)
        for n in range(len(said)):
            picture(root / f"VHM_eval/{name}/{n}.png")


def rsieval(root):
    pairs = [{"question": "day or night?", "answer": "day", "type": "image"}, {"question": "boats?", "answer": 3}]
    images = [
        {"filename": "1.png", "caption": "a harbor with many boats in the sun", "qa_pairs": pairs},
        {"filename": "2.png", "caption": "two green fields beside a long grey road", "qa_pairs": []},
    ]
    put(root / "RSIEval/annotations.json", {"annotations": images})
    for n in (1, 2):
        picture(root / f"RSIEval/images/{n}.png")


def objects(root):
    square = "10 10 30 10 30 30 10 30 {} 0\n50 50 70 50 70 70 50 70 {} 0\n"
    put(root / "DOTA/val/labelTxt/P1.txt", square.format("ship", "plane"))
    put(root / "DOTA/val/labelTxt/P2.txt", square.format("ship", "ship"))
    for name in ("P1", "P2"):
        picture(root / f"DOTA/val/images/{name}.png")


def changes(root):
    def entry(name, captions, flag):
        said = [{"raw": f" {c} . "} for c in captions]
        return {"filename": name, "filepath": "test", "split": "test", "changeflag": flag, "sentences": said}

    still = ["the scene is the same as before", "nothing has changed at all here"]
    built = ["a long row of houses appears beside the road", "many houses are built along the street"]
    put(root / "LEVIR-CC/LevirCCcaptions.json", {"images": [entry("1.png", still, 0), entry("2.png", built, 1)]})
    for side in "AB":
        for name in ("1.png", "2.png"):
            picture(root / f"LEVIR-CC/images/test/{side}/{name}")
    said = [("change_or_not", "yes"), ("change_ratio", "10_to_20"), ("change_to_what", "low_vegetation")]
    questions = [
        {"id": n, "img_id": 0, "type": kind, "question": f"q{n}?", "answers_ids": [n], "active": True}
        for n, (kind, _) in enumerate(said)
    ]
    answers = [{"id": n, "answer": a, "active": True} for n, (_, a) in enumerate(said)]
    for split in ("Test", "Test2"):
        put(root / f"CDVQA/{split}_questions.json", {"questions": questions})
        put(root / f"CDVQA/{split}_answers.json", {"answers": answers})
        put(root / f"CDVQA/{split}_images.json", {"images": [{"id": 0, "file_name": "07308.png", "active": True}]})
    for side in ("im1", "im2"):
        picture(root / f"SECOND/test/{side}/07308.png")


def uavbench(root):
    said = [
        ("ERA", "img_cls", "Given classes: fire, flood and farm.", "fire"),
        ("ERA", "img_cls", "Given classes: fire, flood and farm.", "flood"),
        ("UAV123", "img_cls", "Given classes: bike, boat and car.", "bike"),
        ("VisDrone2019_DET", "count", "how many?", "4"),
        ("VisDrone2019_DET", "count", "how many cars?", "9"),
        ("UAV123", "vg", "where is the bike?", "{<10><10><30><30>}"),
        ("UAV123", "det", "<p>car</p>", "{<10><10><30><30>}<delim>{<50><50><70><70>}"),
        ("UAV123", "reg_vqa", "what colour has {<1><2><30><40>}?", "red"),
    ]
    rows = [
        {"id": "1", "image": f"{unit}/test/a{n}.jpg", "conversations": str(talk(f"[{tag}] {q}", a)["conversations"])}
        for n, (unit, tag, q, a) in enumerate(said)
    ]
    put(root / "UAVBench/UAVBench.json", rows)
    for row in rows:
        picture(root / "UAVBench/images" / row["image"])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("field")
    for write in (vrsbench, choices, vhm, rsieval, objects, changes, uavbench):
        write(folder)
    return folder


def score(name, root, answers_to):
    """Metrics of the answers that ``answers_to(records)`` gives."""
    benchmark = BENCHMARKS[name]
    records, problems = benchmark.load(root, "stop")
    assert not [problem for problem in problems if isinstance(problem, Problem) and not problem.by_rule]
    given, _ = answers_of(answers_to(records), records, benchmark, None)
    return benchmark.metric(records, given).metrics


def truths(records):
    return [PROTOCOL_STYLE.answer(record.turns[0]) for record in records]


def next_ones(records):
    """The true answers of the records after them."""
    said = truths(records)
    return said[1:] + said[:1]


#: Name -> how many are asked, main metric of perfect answers, of each answering the next question, one answer to
#: everything and its value.
EXPECTED = {
    # one is unique; each box fits itself alone
    "vrsbench.refer": (2, 100, 0, "{<10><10><30><30>}", 50),
    "vrsbench.vqa": (4, 100, 0, "yes", 25),
    # options turned: 4 + 2 questions; one letter is right once for each of two questions
    "xlrs_lite": (6, 100, None, "A", 100 * 2 / 6),
    "geobench_vlm": (5, 100, 0, "A", 20),
    "geobench_vlm.temporal": (5, 100, 0, "A", 20),
    "lhrs_bench": (6, 100, 0, "A", 0),
    "vhm.presence": (2, 100, 0, "yes", 50),
    # half of one and all of nothing: "red" is one of two colours of the first
    "vhm.color": (2, 100, 0, "red", 25),
    "vhm.position": (2, 100, 0, "B", 50),
    "vhm.counting": (2, 100, 0, "5", 50),
    "vhm.gsd": (2, 100, 0, "0.52", 50),
    "vhm.size": (1, 100, 100, "20", 0),
    "vhm.scene.aid": (2, 100, 0, "port", 50),
    "vhm.honesty.color_random": (2, 100, 100, "red", 0),
    "vhm.honesty.relation_popular": (1, 100, 100, "A", 0),
    "rsieval.vqa": (2, 100, 0, "day", 50),
    # 15 classes of 2 images; 3 ships, a plane; the same box to all: both boxes of ships right, 2 of 3 found; no plane
    "dota.detect": (30, 100, 0, "{<10><10><30><30>}", 100 * (7 / 11) / 2),
    # counts 1, 2 (ships), 1 (a plane) and 27 times 0
    "dota.count": (30, 100, None, "0", 100 * 29 / 30),
    "cdvqa.test1": (3, 100, 0, "yes", 100 / 3),
    "cdvqa.test2": (3, 100, 0, "10 to 20", 100 / 3),
    "uavbench.img_cls": (3, 100, 0, "fire", 100 / 3),
    "uavbench.count": (2, 100, 0, "5", 50),
    "uavbench.vg": (1, 100, 100, "{<10><10><30><30>}", 100),
    "uavbench.det": (1, 100, 100, "{<10><10><30><30>}", 100 * 2 / 3),
    "uavbench.reg_vqa": (1, 100, 100, "blue", 0),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_perfect_shuffled_and_constant_answers(root, name):
    asked_, perfect, shuffled, constant, value = EXPECTED[name]
    main = BENCHMARKS[name].main_metric
    assert score(name, root, truths)[main] == perfect
    assert len(BENCHMARKS[name].load(root)[0]) == asked_
    if shuffled is not None:
        assert score(name, root, next_ones)[main] == shuffled
    assert score(name, root, lambda records: [constant] * len(records))[main] == pytest.approx(value)


@pytest.mark.parametrize("name", ["vrsbench.caption", "rsieval.caption", "levir_cc"])
def test_captions_follow_their_own_image(root, name, without_java):
    """CIDEr of two images is 1,000 for one reference word by word, and 0 for words of the other image alone."""
    perfect, other = score(name, root, truths), score(name, root, next_ones)
    assert perfect["BLEU-1"] == pytest.approx(100) and other["BLEU-1"] < 30 and other["CIDEr"] < 0.2 * perfect["CIDEr"]


def test_parts(root):
    refer = score("vrsbench.refer", root, lambda records: ["{<10><10><30><30>}"] * 2)
    assert (refer["accuracy@0.5/unique"], refer["accuracy@0.5/non_unique"]) == (100, 0)
    assert (refer["accuracy@0.7/unique"], refer["accuracy@0.7/non_unique"]) == (100, 0)
    vqa = score("vrsbench.vqa", root, lambda records: ["yes"] * 4)
    assert {name for name in vqa if "/" in name} == {
        f"accuracy/{k}" for k in ("presence", "quantity", "color", "scene")
    }
    lhrs = score("lhrs_bench", root, truths)
    assert {"accuracy/identity", "accuracy/quantity", "chance"} <= lhrs.keys()
    assert lhrs["chance"] == pytest.approx(100 / 3) and lhrs["circular_chance"] == pytest.approx(100 / 27)
    units = score("uavbench.img_cls", root, lambda records: ["fire"] * 3)
    assert (units["accuracy/ERA"], units["accuracy/UAV123"], units["mean_over_units"]) == (50, 0, 25)


def test_pairs_are_shown_in_order_and_the_words_say_it(root):
    records, _ = BENCHMARKS["levir_cc"].load(root)
    assert [[image.rsplit("/", 2)[1] for image in record.images] for record in records] == [["A", "B"]] * 2
    first = "[caption] The first image was taken before, the second after. Describe what has changed"
    assert asked(records[0]).startswith(first) and Counter(r.references["type"] for r in records)["changed"] == 1
    assert len(records[0].references["captions"]) == 2
    records, _ = BENCHMARKS["cdvqa.test2"].load(root)
    assert [image.rsplit("/", 2)[1] for image in records[0].images] == ["im1", "im2"]
    assert [record.references["answer"] for record in records] == ["yes", "10 to 20", "low vegetation"]
    temporal = BENCHMARKS["geobench_vlm.temporal"].load(root)[0][0]
    assert [image.rsplit("/", 1)[1] for image in temporal.images] == ["pre.png", "post.png"]
    assert "The first image was taken before" in asked(temporal)


def test_images_inside_a_table_are_decoded(root):
    records, _ = BENCHMARKS["xlrs_lite"].load(root)
    assert "train-00000-of-00001.parquet#column=image&row=0" in records[0].images[0]


def test_ids_of_rows(root):
    assert BENCHMARKS["uavbench.vg"].load(root)[0][0].id == "UAVBench:5"
    assert BENCHMARKS["vrsbench.vqa"].load(root)[0][1].references["published_id"] == "1"
    assert BENCHMARKS["xlrs_lite"].load(root)[0][0].id == "train-00000-of-00001:0:0"
