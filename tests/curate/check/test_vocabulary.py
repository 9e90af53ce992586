from skyeye.curate.check import vocabulary
from skyeye.curate.check.vocabulary import Vocabulary
from skyeye.data.record import Record, Turn


def compared(*answers: tuple[str, bool], task: str = "vqa") -> dict:
    words = Vocabulary()
    for answer, trains in answers:
        words.add(Record("1", "set", task, "train", (), (Turn("q", answer),)), trains)
    return words.compare()


def test_answers_of_one_side_are_named_with_their_counts():
    many = [("yes", True), ("no", False), ("Yes ", False)] * 10
    told = compared(*many, ("3", True), ("3", True), ("4", True), ("rural", False))
    assert told == {
        "set/vqa": {
            "training": 13,
            "evaluation": 21,
            "closed": True,
            "answers": 5,
            "never in evaluation": {"3": 2, "4": 1},
            "never in training": {"no": 10, "rural": 1},
        }
    }


def test_files_of_one_set_are_compared_with_each_other():
    words = Vocabulary()
    for source, trains in [("my_train", True), ("my-test", False), ("test", False)] * 9:
        words.add(Record("1", source, "vqa", "train", (), (Turn("q", "yes"),)), trains)
    assert {name: (entry["training"], entry["evaluation"]) for name, entry in words.compare().items()} == {
        "my/vqa": (9, 9),
        "test/vqa": (0, 9),
    }


def test_free_text_and_one_side_alone_are_not_compared(monkeypatch):
    assert "never in training" not in compared(*[("yes", True)] * 9)["set/vqa"]
    free = compared(*[(f"answer {n}", n % 2 == 0) for n in range(20)])["set/vqa"]
    assert free == {"training": 10, "evaluation": 10, "closed": False}
    assert compared(("a harbour", True), task="caption") == {}
    monkeypatch.setattr(vocabulary, "MAX_ANSWERS", 3)
    many = compared(*[(f"{n % 8}", True) for n in range(200)])["set/vqa"]
    assert many == {"training": 200, "evaluation": 0, "closed": False}
    one_too_many = compared(*[(f"{n % 4}", True) for n in range(200)])["set/vqa"]
    assert one_too_many == {"training": 200, "evaluation": 0, "closed": False}
