"""A scene asked together and tile by tile: the same answers, and rates of both."""

from skyeye.bench.annotate import bench_annotate, format_text
from skyeye.serve.scenes.annotate import Asking
from skyeye.serve.scenes.ask import ModelAnswerer
from skyeye.serve.scenes.plan import Cutting, Length
from skyeye.serve.scenes.questions import parse_question
from skyeye.synth.mosaic import Mosaic, write_mosaic


def test_rates_and_equal_answers(small_parts, tmp_path):
    answerer = ModelAnswerer(*small_parts, "tiny", max_new_tokens=5)
    write_mosaic(tmp_path / "a.tif", Mosaic(pictures=2, size=56))
    questions = tuple(parse_question(words) for words in ("[detection] planes", "[caption]", "[count] ships"))
    asking = Asking(questions, Cutting(Length(56), Length(14)), chunk=4)
    result = bench_annotate(answerer, str(tmp_path / "a.tif"), asking, windows=8, baseline_windows=3, pairs=1)
    assert result["sizes"]["windows"] == 9 and result["sizes"]["questions_a_window"] == 3
    assert result["equality"] == {"answers_compared": 18, "answers_differing": 0}
    assert 0 <= result["ours"]["waiting_for_pixels"] < 1 and result["tile_by_tile"]["windows_a_minute"] > 0
    # nine windows stand for 112 x 112 pixels of half a metre; eight of them are asked
    ours = result["ours"]
    assert ours["square_kilometres_a_minute"] / ours["megapixels_a_minute"] - 0.25 < 0.01
    assert "x as fast as tile by tile" in format_text(result)
