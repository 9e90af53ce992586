from hypothesis import given
from hypothesis import strategies as st

from skyeye.curate.check.repeats import Places, Repeats
from skyeye.data.record import Record, Turn

TASKS = ("vqa", "caption")
RECORDS = st.lists(
    st.tuples(st.sampled_from(TASKS), st.sampled_from("ab"), st.sampled_from("qr"), st.sampled_from("xyz"))
)


def record(task: str, image: str, question: str, answer: str) -> Record:
    return Record("1", "s", task, "train", (image,), (Turn(question, answer),))


@given(RECORDS)
def test_repetitions_are_those_of_a_table_of_all_texts(rows):
    repeats = Repeats()
    for row in rows:
        repeats.add(record(*row))
    same: dict[object, int] = {}
    asked: dict[object, int] = {}
    duplicates, contradictions = [], []
    for number, row in enumerate(rows):
        if same.setdefault(row, number) != number:
            duplicates.append([number, same[row]])
        task, image, question, answer = row
        first = asked.setdefault((task, image, question), number)
        if task == "vqa" and rows[first][3] != answer:
            contradictions.append([number, first])
    assert repeats.duplicates().tolist() == duplicates
    assert repeats.contradictions().tolist() == contradictions


def test_case_spaces_and_a_full_stop_do_not_make_another_text():
    repeats = Repeats()
    for question, answer in (("[vqa] How  many?", "Two."), ("[vqa] how many?", "two"), ("[vqa] how many ?", "two")):
        repeats.add(record("vqa", "a", question, answer))
    assert repeats.duplicates().tolist() == [[1, 0]]


def test_nothing_is_repeated_in_nothing():
    assert Repeats().duplicates().shape == Repeats().contradictions().shape == (0, 2)


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=5), st.text(max_size=3))))
def test_places_are_kept(places):
    kept = Places()
    for file, place, id in places:
        kept.add(f"{file}, {place}", id)
    assert len(kept) == len(places)
    assert [kept[n] for n in range(len(kept))] == [f"{file}, {place} ({id})" for file, place, id in places]


def test_a_place_that_is_only_a_file():
    kept = Places()
    kept.add("labels/P0003.txt", "P0003:refer:0.1")
    assert kept[0] == "labels/P0003.txt (P0003:refer:0.1)"
