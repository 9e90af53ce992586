"""Records come out of a table as they went in, and a group is read without the others."""

import pickle

import numpy as np
import pytest

from skyeye.data.geometry.boxes import Box, OrientedBox
from skyeye.data.record import MARK, Mention, Record, Region, Turn, group_by_image
from skyeye.data.table import build_table
from skyeye.errors import SkyEyeError

MENTIONS = (Mention((Box(0.1, 1 / 3, 0.5, 1.0), OrientedBox(*map(float, range(8)))), "a \u00e9 \ud83d"), Mention(()))
RECORDS = [
    Record("1", "s", "vqa", "train", ("a",), (Turn("q\n\"?", "\u4e00", "vqa"),), {"answer": "\u4e00"}),
    Record("2", "s", "refer", "val", ("b", "c"), (Turn(MARK, MARK, "refer", MENTIONS, "be brief"),), {"boxes": [[1]]}),
    Record("3", "", "conversation", "train", (), (Turn("x", "y"), Turn("z", "w")), {}, (), "file, record 3"),
    Record("4", "s", "vqa", "train", ("a",), (), {"answer": "x", "type": "y"}, (Region((0.0, 0.1, 0.2, 0.3), "p"),)),
    Record("5", "s", "conversation", "train", (), (Turn("x", "y"),)),
]  # fmt: skip


def test_groups_are_those_of_the_records():
    table = build_table(iter(RECORDS))
    groups = group_by_image(RECORDS)
    assert [table.group(number) for number in range(len(table))] == groups and len(groups) == 4
    assert [table.group_images(number) for number in range(4)] == [("a",), ("b", "c"), (), ()]
    assert table.group_regions(0) == [(), RECORDS[3].regions] and table.group_regions(1) == [()]
    assert (table.records, table.system_turns) == (5, 1)
    assert (table.tasks, table.splits) == (["vqa", "refer", "conversation"], ["train", "val"])


def test_a_copy_for_another_process_is_the_same():
    table = pickle.loads(pickle.dumps(build_table(RECORDS)))
    assert [table.group(number) for number in range(len(table))] == group_by_image(RECORDS)


def test_an_empty_table_has_no_group():
    table = build_table([])
    assert len(table) == table.records == 0 and table.columns["order"].dtype == np.uint32


def test_a_text_that_was_damaged_is_told():
    table = build_table(RECORDS)
    table.texts[3:9] = b"\0" * 6
    with pytest.raises(SkyEyeError, match="index of records is damaged.*source_index=false"):
        table.group(0)
