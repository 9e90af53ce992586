"""Frames of videos: counted, chosen evenly, and exactly the one that is asked for."""

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.images.frames import count_frames, even_frames, frame_size, natural_order, read_frame
from skyeye.data.images.load import image_size, load_image
from skyeye.errors import SkyEyeError


@given(st.integers(0, 500), st.integers(1, 40))
def test_frames_are_spread_evenly(total, n):
    chosen = even_frames(total, n)
    assert len(chosen) == min(total, n) and chosen == sorted(set(chosen))
    if total > n:  # the parts before, between and behind them differ by no more than rounding
        gaps = [b - a for a, b in itertools.pairwise(chosen)]
        assert all(total // n <= gap <= -(-total // n) for gap in gaps)
        assert abs(chosen[0] - (total - 1 - chosen[-1])) <= 1


def test_the_middle_frame_is_the_one():
    assert (even_frames(9, 1), even_frames(10, 2), even_frames(3, 5)) == ([4], [2, 7], [0, 1, 2])


def test_numbers_in_names_are_numbers():
    assert sorted(["f10.png", "f9.png", "f1.png", "a"], key=natural_order) == ["a", "f1.png", "f9.png", "f10.png"]


av = pytest.importorskip("av", reason="needs the extra video: pip install skyeye[video]")
SHADES = [10 * n for n in range(1, 24)]


@pytest.fixture(scope="module", params=["mpeg4-mp4", "libx264-mp4", "libx264-mkv", "mjpeg-avi"])
def video(request, tmp_path_factory):
    """A video whose n-th frame is of grey 10 n, with key frames every eight."""
    codec, kind = request.param.split("-")
    path = tmp_path_factory.mktemp("video") / f"clip.{kind}"
    with av.open(str(path), "w") as container:
        try:
            # pictures between two others, which are stored behind the later of them
            options = {"x264-params": "b-adapt=0:bframes=2:scenecut=0"} if codec == "libx264" else {"bf": "2"}
            stream = container.add_stream(codec, rate=24, options={} if codec == "mjpeg" else options)
        except av.error.FFmpegError:
            pytest.skip(f"this build of PyAV has no encoder {codec}")
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size, stream.bit_rate = 8, 8_000_000  # else neighbours of like grey become one
        if codec != "mjpeg":
            stream.codec_context.max_b_frames = 2
        for shade in SHADES:
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_every_frame_is_the_right_one(video):
    assert count_frames(str(video)) == len(SHADES)
    for number in range(len(SHADES)):
        shade = np.asarray(read_frame(str(video), number)).mean()
        assert abs(shade - SHADES[number]) < 4, number


def test_references(video):
    picture = load_image(f"{video}#frame=12")
    assert (picture.mode, picture.size) == ("RGB", (48, 32))
    assert image_size(f"{video}#frame=12") == frame_size(str(video)) == (48, 32)


def test_what_cannot_be_read_is_told(video, tmp_path, monkeypatch):
    with pytest.raises(SkyEyeError, match="there is no frame 23; the video has 23"):
        load_image(f"{video}#frame=23")
    with pytest.raises(SkyEyeError, match="frame 'x' is not a number"):
        load_image(f"{video}#frame=x")
    with pytest.raises(SkyEyeError, match="the video is missing"):
        load_image(f"{tmp_path / 'none.mp4'}#frame=0")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SkyEyeError, match="not a video: it is text"):
        load_image(f"{tmp_path / 'text.mp4'}#frame=0")
    with pytest.raises(SkyEyeError, match="is a folder"):
        count_frames(str(tmp_path))
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:60])
    with pytest.raises(SkyEyeError, match="damaged or of an unknown kind|holds no video"):
        count_frames(str(tmp_path / "cut.mp4"))
    monkeypatch.setattr("skyeye.data.images.limits.MAX_PIXELS", 100)
    with pytest.raises(SkyEyeError, match="48 x 32 pixels, more than 100"):
        load_image(f"{video}#frame=0")


def test_a_play_list_is_not_followed(video, tmp_path):
    for name, text in (
        ("a.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n"),
        ("b.mp4", f"ffconcat version 1.0\nfile '{video}'\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(SkyEyeError, match="not a video: it is text"):
            count_frames(str(tmp_path / name))


def test_a_damaged_video_ends_in_words(video, tmp_path):
    rng = np.random.default_rng(0)
    original = np.frombuffer(video.read_bytes(), np.uint8)
    for turn in range(15):
        data = original.copy()
        data[rng.integers(0, len(data), 20)] = rng.integers(0, 256, 20)
        (tmp_path / "x.mp4").write_bytes(data[: len(data) if turn % 2 else int(rng.integers(1, len(data)))].tobytes())
        try:
            read_frame(str(tmp_path / "x.mp4"), 5)
        except SkyEyeError:
            continue


def test_without_the_extra(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SkyEyeError, match=r"read by PyAV .pip install skyeye\[video\]"):
        load_image(f"{video}#frame=0")
