"""Progress of commands: what a person sees on stderr."""

import re

from skyeye.cli.progress import Counter


def test_work_is_told_from_its_first_step_to_its_last(capsys):
    counter = Counter("looking at images")
    assert capsys.readouterr().err == ""
    for done in range(1, 41):
        counter(done, 40)
    lines = re.split(r"[\r\n]+", capsys.readouterr().err.strip())
    assert lines[-1].startswith("looking at images: 100%") and " 40/40 " in lines[-1]
    assert len(lines) < 6  # a log file is not filled with steps


def test_the_same_work_may_begin_again(capsys):
    counter = Counter("computing features")
    for total in (3, 5):
        for done in range(total + 1):
            counter(done, total)
    told = capsys.readouterr().err
    assert " 3/3 " in told and " 5/5 " in told


def test_nothing_to_do_is_told_too(capsys):
    Counter("packing")(0, 0)
    assert "packing" in capsys.readouterr().err
