"""Building a cache: what is in it, how large it gets, and that it can be killed at any moment."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import tarfile
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from skyeye.data.images.reference import format_reference
from skyeye.errors import SkyEyeError
from skyeye.train.features import build as building
from skyeye.train.features import store
from skyeye.train.features.build import encode_patches, in_bytes
from skyeye.train.features.store import FeatureReader, FeatureWriter
from skyeye.train.loader import load_pixels

FILES = ("rows.bin", "index.bin")


def _bytes(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def _seen(tower, vision, pictures) -> torch.Tensor:
    """Computed here, all at once."""
    pixels = torch.stack([load_pixels(picture, vision) for picture in pictures])
    with torch.no_grad():
        return tower(pixels)[:, 1:]  # without the class token


def test_float32_rows_are_what_the_tower_gives(build, pictures, tower, vision, tmp_path):
    made = build(tmp_path / "cache", pictures)
    seen = FeatureReader(tmp_path / "cache", made).patches_of(pictures)
    assert seen.shape == (37, 16, 16) and torch.equal(seen, _seen(tower, vision, pictures))


def test_the_tower_always_gets_batches_of_one_size(build, pictures, tower, tmp_path):
    """Some kernels round otherwise for a batch of one: what a row holds must not depend on where a build began."""
    sizes = []
    tower.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    build(tmp_path / "cache", pictures[:5])
    assert sizes == [4, 4]


@pytest.mark.parametrize(("dtype", "bits"), [("bf16", 8), ("fp16", 11)])
def test_half_precision_rows_are_that_rounded_once(build, pictures, tower, vision, tmp_path, dtype, bits):
    made = build(tmp_path / "cache", pictures, dtype=dtype)
    seen = FeatureReader(tmp_path / "cache", made).patches_of(pictures).double()
    exact = _seen(tower, vision, pictures).double()
    above = exact.abs() > 2.0**-14  # below, float16 has fewer bits
    assert ((seen - exact).abs() <= exact.abs() * 2.0**-bits)[above].all()
    assert not torch.equal(seen, exact)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_tower_computes_as_in_a_training_step(build, pictures, tower, vision, tmp_path, precision):
    made = build(tmp_path / "cache", pictures[:5], precision=precision)
    pixels = torch.stack([load_pixels(picture, vision) for picture in pictures[:5]])
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = tower(pixels)[:, 1:].float()
    assert torch.equal(FeatureReader(tmp_path / "cache", made).patches_of(pictures[:5]), expected)
    assert torch.equal(encode_patches(tower, pixels, precision).float(), expected)
    assert torch.equal(expected, _seen(tower, vision, pictures[:5])) == (precision == "fp32")


def test_copies_and_members_of_a_shard_are_one_row(build, pictures, tower, vision, tmp_path):
    copy = shutil.copy(pictures[2], tmp_path / "another name.png")
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for path in pictures[:3]:
            content = Path(path).read_bytes()
            tar.addfile(_member(path, content), io.BytesIO(content))
    with tarfile.open(tmp_path / "shard.tar") as tar:
        members = [format_reference(tar.name, offset=m.offset_data, size=m.size) for m in tar.getmembers()]
    told = []
    made = build(tmp_path / "cache", [*pictures[:3], copy, *members, pictures[0]], tell=told.append)
    assert "7 images, 3 different; 3 to compute" in told[0]
    reader = FeatureReader(tmp_path / "cache", made)
    assert len(reader) == 3
    expected = _seen(tower, vision, pictures[:3])
    assert torch.equal(reader.patches_of(members), expected) and torch.equal(reader.patches_of([copy])[0], expected[2])


def _member(path: str, content: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(Path(path).name)
    info.size = len(content)
    return info


def test_a_second_build_computes_only_what_is_new(build, pictures, tmp_path):
    told = []
    build(tmp_path / "cache", pictures[:8])
    before = _bytes(tmp_path / "cache")
    build(tmp_path / "cache", pictures[:8], tell=told.append)
    assert _bytes(tmp_path / "cache") == before and "0 to compute" in told[0]
    build(tmp_path / "cache", pictures[4:12], tell=told.append)
    assert "8 different; 4 to compute" in told[1]
    assert [new.startswith(old) for new, old in zip(_bytes(tmp_path / "cache"), before, strict=True)] == [True, True]


def test_limits_and_workers_change_nothing_in_the_files(build, pictures, tmp_path):
    build(tmp_path / "whole", pictures)
    for limit in (4, 8, None):
        build(tmp_path / "parts", pictures, limit=limit)
    build(tmp_path / "workers", pictures, workers=2)
    assert _bytes(tmp_path / "parts") == _bytes(tmp_path / "workers") == _bytes(tmp_path / "whole")


def test_what_is_said_about_size_is_what_it_becomes(build, pictures, tmp_path):
    told = []
    build(tmp_path / "cache", pictures, dtype="bf16", tell=told.append)
    assert (tmp_path / "cache" / "rows.bin").stat().st_size == 37 * 16 * 16 * 2
    assert "37 to compute, 0.512 kB each: 20.6 kB" in told[0]  # 37 x (512 + 44 of the index)
    assert [in_bytes(n) for n in (2_883_584, 10**11, 288 * 10**9)] == ["2.88 MB", "0.1 TB", "0.288 TB"]


def test_too_small_a_disk_is_said_before_anything_is_written(build, pictures, tmp_path, monkeypatch):
    need = 37 * (16 * 16 * 4 + 44)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=building.RESERVE + need - 1))
    with pytest.raises(SkyEyeError, match="needs 39.5 kB more; the disk has"):
        build(tmp_path / "cache", pictures)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=building.RESERVE + need))
    build(tmp_path / "cache", pictures)


def test_values_that_do_not_fit_are_refused_with_the_picture(build, pictures, tower, tmp_path):
    tower.backbone.patch_embed.proj.bias[0] = 1e5  # more than float16 holds
    with pytest.raises(SkyEyeError, match=r"00\.png: the values do not fit into fp16.*bf16"):
        build(tmp_path / "half", pictures[:4], dtype="fp16")
    assert len(FeatureReader(tmp_path / "half")) == 0
    build(tmp_path / "other half", pictures[:4], dtype="bf16")
    tower.backbone.patch_embed.proj.bias[0] = float("nan")
    with pytest.raises(SkyEyeError, match="the tower gives infinite values"):
        build(tmp_path / "none", pictures[:4])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_is_named_and_what_came_before_it_stays(build, pictures, tmp_path, workers):
    Path(pictures[9]).write_bytes(Path(pictures[9]).read_bytes()[:100])
    with pytest.raises(SkyEyeError, match=r"09\.png: the image is truncated"):
        build(tmp_path / "cache", pictures, workers=workers)
    assert len(FeatureReader(tmp_path / "cache")) == 8


def test_a_picture_that_changes_between_digest_and_decoding_is_refused(build, pictures, tmp_path, monkeypatch):
    real = building.load_pixels

    def swap(reference, vision):
        pixels = real(reference, vision)
        shutil.copy(pictures[1], pictures[0])
        return pixels

    monkeypatch.setattr(building, "load_pixels", swap)
    with pytest.raises(SkyEyeError, match=r"00\.png: the image changed"):
        build(tmp_path / "cache", pictures[:4])


def test_damaged_rows_are_computed_again_when_asked_to_look(build, pictures, tmp_path):
    folder, told = tmp_path / "cache", []
    made = build(folder, pictures)
    right = FeatureReader(folder, made).patches_of(pictures)
    content = bytearray((folder / "rows.bin").read_bytes())
    content[5 * 1024 + 7] ^= 1
    (folder / "rows.bin").write_bytes(content)
    build(folder, pictures, tell=told.append)
    build(folder, pictures, verify=True, tell=told.append)
    assert "; 0 to compute" in told[0] and "; 1 to compute" in told[1]
    assert torch.equal(FeatureReader(folder, made).patches_of(pictures), right)


def test_rows_that_were_cut_off_are_computed_again(build, pictures, tmp_path):
    folder, told = tmp_path / "cache", []
    made = build(folder, pictures)
    right = FeatureReader(folder, made).patches_of(pictures)
    os.truncate(folder / "rows.bin", 30 * 1024 + 1)
    build(folder, pictures, tell=told.append)
    assert "9 to compute" in told[0] and "cut short by 9 rows" in told[0]  # back to the last whole batch, 28 rows
    assert torch.equal(FeatureReader(folder, made).patches_of(pictures), right)


def test_a_cache_that_cannot_be_written_serves_when_nothing_is_missing(build, pictures, tmp_path):
    told = []
    made = build(tmp_path / "cache", pictures[:4])
    copy = shutil.copy(pictures[0], tmp_path / "new name.png")
    (tmp_path / "cache" / "writer.lock").unlink()
    (tmp_path / "cache" / "writer.lock").mkdir()  # what a read-only disk does, also to root
    build(tmp_path / "cache", [copy], tell=told.append)
    assert "; 0 to compute" in told[0] and "are not kept" in told[1]
    assert FeatureReader(tmp_path / "cache", made).patches_of([copy]).shape == (1, 16, 16)
    with pytest.raises(SkyEyeError, match="cannot be written"):
        build(tmp_path / "cache", pictures[:5])


def _in_a_process(work, killed_after: float | None = None) -> int:
    """Run ``work`` in a process of its own and kill it after some seconds; its exit status."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if killed_after is not None:
        time.sleep(killed_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def test_a_build_killed_at_random_moments_goes_on_to_the_same_bytes(build, pictures, tmp_path):
    began = time.perf_counter()
    assert _in_a_process(lambda: build(tmp_path / "whole", pictures)) == 0
    needed = time.perf_counter() - began
    draw, killed, attempt = random.Random(11), 0, 0
    while killed < 10:  # how many a build meets depends on how busy the machine is
        attempt += 1
        assert attempt < 100
        folder = tmp_path / f"killed {attempt}"
        work = partial(build, folder, pictures)
        while _in_a_process(work, draw.uniform(0, needed / 2)) == signal.SIGKILL:
            killed, needed = killed + 1, needed * 1.1  # so that it ends where the machine has become slower
            if (folder / "manifest.json").exists():
                reader = FeatureReader(folder)
                assert all(map(reader.is_sound, reader.rows()))
        assert _in_a_process(work) == 0
        assert _bytes(folder) == _bytes(tmp_path / "whole")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_build_killed_in_every_write_goes_on_to_the_same_bytes(build, pictures, tmp_path, monkeypatch, share):
    build(tmp_path / "whole", pictures)
    real, folder, written = FeatureWriter._add, tmp_path / "killed", 0

    def dying(writes_left: int):
        left = writes_left

        def add(self, name, content):
            nonlocal left
            if not left:
                with open(self.folder / name, "ab") as file:
                    file.write(content[: int(len(content) * share)])
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            real(self, name, content)

        return add

    while True:
        monkeypatch.setattr(
            store.FeatureWriter, "_add", dying(written % 3)
        )  # in the 1st, 2nd or 3rd write of a process
        if _in_a_process(lambda: build(folder, pictures)) == 0:
            break
        written += 1
        assert written < 60
    assert written >= 10 and _bytes(folder) == _bytes(tmp_path / "whole")
