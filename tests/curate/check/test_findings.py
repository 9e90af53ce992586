from skyeye.curate.check.findings import EXAMPLES, Tally
from skyeye.data.formats.base.problems import Problem


def test_what_a_reader_leaves_out_by_rule_is_a_note_and_broken_records_are_errors():
    tally = Tally(records_out=2)
    tally.problem(Problem("too small", "a.txt, line 1", "small", by_rule=True))
    assert tally.sound and tally.records_in == 3
    tally.problem(Problem("missing image", "b.json, image 0", "gone", count=5))
    assert not tally.sound and tally.records_in == 8
    assert {kind: found.count for kind, found in tally.reported.items()} == {"too small": 1, "missing image": 5}


def test_one_broken_record_of_a_kind_makes_it_an_error():
    tally = Tally()
    tally.problem(Problem("no split", "a", "by rule", by_rule=True))
    assert tally.sound
    tally.problem(Problem("no split", "b", "broken"))
    tally.problem(Problem("no split", "c", "by rule", by_rule=True))
    assert not tally.sound


def test_a_remark_leaves_nothing_out():
    tally = Tally(records_out=1)
    tally.problem(Problem("numbered otherwise", "a", "a remark", count=0))
    assert tally.sound and tally.records_in == 1 and not tally.reported
    assert tally.findings["numbered otherwise"].count == 1


def test_the_first_places_are_kept():
    tally = Tally()
    for number in range(EXAMPLES + 3):
        tally.find("empty answer", f"line {number}", "empty")
    found = tally.findings["empty answer"].as_json()
    assert found["severity"] == "error" and found["count"] == EXAMPLES + 3
    assert [example["where"] for example in found["examples"]] == [f"line {n}" for n in range(EXAMPLES)]
