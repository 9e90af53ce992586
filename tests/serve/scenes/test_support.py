"""How many of the windows that show an object have found it."""

import itertools

from skyeye.serve.scenes.merge import Detection, cut_sides
from skyeye.serve.scenes.plan import Tile
from skyeye.serve.scenes.support import supports

SIZE = (800, 400)
WINDOWS = [(x, y, x + 200, y + 200) for y, x in itertools.product((0, 100, 200), range(0, 601, 100))]
TILES = [Tile(window, window, 1.0, 1) for window in WINDOWS]


def found(box, *windows):
    left, top, right, bottom = box
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    cut = cut_sides(box, windows[0], SIZE)
    return Detection(0, "ship", "ship", corners, False, 0.9, 1.0, windows, cut)


def share(detection, answered=None):
    return supports([detection], TILES, list(range(len(TILES))) if answered is None else answered, SIZE)[0]


def test_the_share_of_the_windows_that_show_it_whole():
    box = (110, 110, 190, 190)  # in four windows
    four = [window for window in WINDOWS if window[0] in (0, 100) and window[1] in (0, 100)]
    assert share(found(box, four[0])) == 0.25 and share(found(box, *four)) == 1.0
    # two of the four had no data and were not asked
    assert share(found(box, four[0]), [WINDOWS.index(window) for window in four[:2]]) == 0.5
    # the corner of the scene lies in one window
    assert share(found((5, 5, 60, 60), WINDOWS[0])) == 1.0


def test_a_cut_box_is_not_supported_by_the_window_that_cuts_it():
    assert share(found((150, 20, 200, 60), WINDOWS[0])) == 0.0  # the next window shows this ground and says nothing
    assert share(found((20, 20, 200, 60), WINDOWS[0])) == 1.0  # no window shows it whole


def test_nothing():
    assert supports([], TILES, [], SIZE) == []
