"""The files of a cache: what is cut off, flipped or half written is found; many read while one writes."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from skyeye.errors import SkyEyeError
from skyeye.train.features import store
from skyeye.train.features.store import FeatureReader, FeatureWriter

MADE = {"row": {"dtype": "fp32", "patches": 3, "width": 2}}
ROW = 3 * 2 * 4  # bytes


def _content(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def _row(number: int) -> torch.Tensor:
    return torch.full((3, 2), float(number)) + torch.arange(6.0).view(3, 2) / 10


def _write(folder: Path, numbers, batch: int = 4) -> None:
    numbers = list(numbers)
    with FeatureWriter(folder, MADE, {}) as writer:
        for at in range(0, len(numbers), batch):
            part = numbers[at : at + batch]
            writer.append([_content(n) for n in part], torch.stack([_row(n) for n in part]))


def _held(folder: Path, repair: bool = False) -> list[bytes]:
    reader = FeatureReader(folder, repair=repair)
    return [reader.content(row) for row in reader.rows()]


def _names(tmp_path: Path, count: int) -> list[str]:
    """Files whose SHA-256 is ``_content(n)``."""
    for number in range(count):
        (tmp_path / f"{number}.img").write_bytes(str(number).encode())
    return [str(tmp_path / f"{number}.img") for number in range(count)]


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_rows_come_back_bit_for_bit_in_the_order_asked_for(tmp_path, name):
    made = {"row": {"dtype": name, "patches": 3, "width": 2}}
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
    rows = torch.randn(5, 3, 2).to(dtype)
    with FeatureWriter(tmp_path / "cache", made, {}) as writer:
        writer.append([_content(n) for n in range(5)], rows)
    names = _names(tmp_path, 5)
    reader = pickle.loads(pickle.dumps(FeatureReader(tmp_path / "cache", made)))  # as a worker that is not forked
    seen = reader.patches_of([names[3], names[0], names[3]])
    assert seen.dtype == dtype and torch.equal(seen, rows[[3, 0, 3]])
    assert reader.patches_of([]).shape == (0, 3, 2)
    assert (tmp_path / "cache" / "rows.bin").stat().st_size == 5 * 6 * dtype.itemsize


def test_what_is_not_there_is_an_error_that_names_the_picture(tmp_path):
    _write(tmp_path / "cache", range(2))
    with pytest.raises(SkyEyeError, match=r"2\.img: this picture is not in the feature cache"):
        FeatureReader(tmp_path / "cache").patches_of(_names(tmp_path, 3))


@pytest.mark.parametrize("place", [0, ROW - 1, 2 * ROW + 5])
def test_a_flipped_bit_of_a_row_is_found_when_it_is_read(tmp_path, place):
    _write(tmp_path / "cache", range(6))
    names = _names(tmp_path, 6)
    _flip(tmp_path / "cache" / "rows.bin", place)
    reader = FeatureReader(tmp_path / "cache")
    damaged = place // ROW
    sound = [name for number, name in enumerate(names) if number != damaged]
    assert torch.equal(reader.patches_of(sound), torch.stack([_row(n) for n in range(6) if n != damaged]))
    for _ in range(2):  # asking again does not help
        with pytest.raises(SkyEyeError, match=rf"rows.bin: row {damaged} is damaged.*--verify"):
            reader.patches_of([names[damaged]])


def test_a_flipped_bit_anywhere_in_the_index_is_found(tmp_path):
    folder = tmp_path / "cache"
    _write(folder, range(12))
    index = folder / "index.bin"
    whole = index.read_bytes()
    for place in range(len(whole)):
        index.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        entry = place // store.ENTRY.itemsize
        if entry < 7:  # behind it a batch ends that is sound and not the last: no interrupted writer leaves this
            for opened in (FeatureReader, lambda folder: FeatureWriter(folder, MADE, {})):
                with pytest.raises(SkyEyeError, match=f"entry {entry} is damaged"):
                    opened(folder)
        else:  # as if the last batch were being written; what is dropped is computed again
            assert len(FeatureReader(folder)) == (4 if entry == 7 else 8)
    assert index.stat().st_size == len(whole)


def test_a_file_of_rows_that_was_cut_short_is_not_read_and_a_builder_takes_what_is_there(tmp_path):
    folder = tmp_path / "cache"
    _write(folder, range(12))
    os.truncate(folder / "rows.bin", 12 * ROW - 1)
    with pytest.raises(SkyEyeError, match="rows.bin: is cut short: 11 of 12 rows are there"):
        FeatureReader(folder)
    reader = FeatureReader(folder, repair=True)
    assert len(reader) == 8 and reader.cut_off == 4
    _write(folder, range(8, 12))
    assert _held(folder) == [_content(n) for n in range(12)]


def test_every_torn_tail_is_dropped_and_going_on_gives_the_same_bytes(tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    _write(whole, range(12))
    files = {name: (whole / name).read_bytes() for name in ("rows.bin", "index.bin")}
    _write(torn, range(8))
    rows, entries = (files[name][: size * 8] for name, size in (("rows.bin", ROW), ("index.bin", store.ENTRY.itemsize)))
    tails = files["rows.bin"][len(rows) :], files["index.bin"][len(entries) :]
    # rows reach the disk before entries: either part of the rows and no entry, or all rows and part of the entries
    cuts = [(n, 0) for n in range(len(tails[0]) + 1)] + [(len(tails[0]), n) for n in range(len(tails[1]))]
    for cut_rows, cut_entries in cuts:
        (torn / "rows.bin").write_bytes(rows + tails[0][:cut_rows])
        (torn / "index.bin").write_bytes(entries + tails[1][:cut_entries])
        assert _held(torn) == [_content(n) for n in range(8)]
        if (cut_rows + cut_entries) % 7 == 0:
            _write(torn, range(8, 12))
            assert {name: (torn / name).read_bytes() for name in files} == files
    # after a power cut the place of a batch of entries may be there with nothing in it
    (torn / "rows.bin").write_bytes(files["rows.bin"])
    (torn / "index.bin").write_bytes(entries + bytes(len(tails[1])))
    assert _held(torn) == [_content(n) for n in range(8)]


def test_of_a_picture_computed_twice_the_later_row_counts(tmp_path):
    folder = tmp_path / "cache"
    _write(folder, range(3))
    with FeatureWriter(folder, MADE, {}) as writer:
        writer.append([_content(1)], _row(50)[None])
    reader = FeatureReader(folder)
    assert torch.equal(reader.patches_of([_names(tmp_path, 3)[1]])[0], _row(50)) and len(reader.rows()) == 3


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path):
    folder = tmp_path / "cache"
    ready, stop = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        with FeatureWriter(folder, MADE, {}):
            os.write(ready[1], b"1")
            os.read(stop[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        with pytest.raises(SkyEyeError, match=rf"another process is writing this feature cache: process {child} on "):
            FeatureWriter(folder, MADE, {})
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with FeatureWriter(folder, MADE, {}):  # a killed writer leaves no lock behind
        pass
    with FeatureWriter(folder, MADE, {}):
        pass


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SkyEyeError, match="holds thesis.txt"):
        FeatureWriter(tmp_path, MADE, {})
    assert not (tmp_path / "manifest.json").exists()


def test_a_disk_that_fills_up_is_an_error_and_what_is_there_stays(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    _write(folder, range(4))

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SkyEyeError, match="rows.bin: cannot be written: No space left"):
        _write(folder, range(4, 8))
    monkeypatch.undo()
    assert len(FeatureReader(folder)) == 4
    _write(folder, range(4, 8))
    assert len(FeatureReader(folder)) == 8


def test_two_readers_see_whole_sound_rows_while_one_writer_appends(tmp_path):
    folder, total = tmp_path / "cache", 400
    names = _names(tmp_path, total)
    _write(folder, range(4))

    def watch() -> int:
        """Read at random what is there so far, until everything is; returns how many sizes were met."""
        reader, sizes, draw = FeatureReader(folder), set(), random.Random(os.getpid())
        while len(reader) < total:
            reader.refresh()
            sizes.add(len(reader))
            chosen = [draw.randrange(len(reader)) for _ in range(8)]
            if not torch.equal(reader.patches_of([names[n] for n in chosen]), torch.stack([_row(n) for n in chosen])):
                return 0
        return len(sizes)

    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            code = 1
            try:
                code = 0 if watch() > 3 else 2
            finally:
                os._exit(code)
        children.append(child)
    with FeatureWriter(folder, MADE, {}) as writer:
        for at in range(4, total, 4):
            writer.append([_content(n) for n in range(at, at + 4)], torch.stack([_row(n) for n in range(at, at + 4)]))
            time.sleep(0.002)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert np.array_equal(
        np.fromfile(folder / "rows.bin", np.float32).reshape(-1, 3, 2), torch.stack([_row(n) for n in range(total)])
    )
