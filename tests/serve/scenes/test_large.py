"""A scene of 8,000 x 8,000 pixels of 16 bits in four bands, rotated, with borders without data, read over HTTP, too."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import perfect
import pytest
import rasterio
import shapely

from skyeye.serve.scenes.annotate import Asking, Job, annotate_scene
from skyeye.serve.scenes.plan import Cutting
from skyeye.serve.scenes.questions import parse_question
from skyeye.serve.scenes.write import Layer

SIDE, TILE, STRIDE = 8000, 448, 336
UTM, ROTATED = (0.5, 0, 5e5, 0, -0.5, 5.3e6), (0.4, 0.3, 5e5, 0.3, -0.4, 5.3e6)
DEGREES = (5e-6, 0, 15, 0, -5e-6, 47)


def things():
    """Boxes of many sizes, every third one over a seam of the windows on purpose; none meets another."""
    rng, boxes = np.random.default_rng(5), []
    for row in range(350, SIDE - 700, 400):
        for column in range(350, SIDE - 700, 400):
            width, height = rng.integers(20, 110, 2)
            x, y = column + rng.integers(0, 150), row + rng.integers(0, 150)
            if len(boxes) % 3 == 0:  # the border of a window lies in it
                x = round((x - TILE) / STRIDE) * STRIDE + TILE - int(width) // 2
                x = x if x >= column else x + STRIDE
            boxes.append((int(x), int(y), int(x + width), int(y + height)))
    return boxes


def write(path, boxes, bits, transform, crs, border):
    dtype, count = ("uint16", 4) if bits == 16 else ("uint8", 3)
    kind = {"driver": "GTiff", "count": count, "height": SIDE, "width": SIDE, "dtype": dtype, "crs": crs, "tiled": True}
    ground = np.random.default_rng(0).integers(40, 60, (3, 500, SIDE), dtype=np.uint8)
    with rasterio.open(path, "w", transform=rasterio.Affine(*transform), nodata=0, compress="lzw", **kind) as file:
        for top in range(0, SIDE, 500):
            strip = ground.copy()
            for left, upper, right, lower in boxes:
                rows = slice(max(0, upper - top), max(0, lower - top))
                strip[:, rows, left:right] = np.array(perfect.COLOURS["red"], np.uint8)[:, None, None]
            if bits == 16:
                strip = (strip.astype(np.uint16) * 12 + 300)[[2, 1, 0, 0]]
            strip[:, :, :border] = strip[:, :, SIDE - border :] = 0
            strip[:, : max(0, border - top)] = 0
            strip[:, max(0, SIDE - border - top) :] = 0
            file.write(strip, window=rasterio.windows.Window(0, top, SIDE, 500))


def peak() -> int:
    """The most memory of this process so far, in KiB; getrusage would tell the parent's, which it was forked from."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def main(scene: str, out: str, bits: str) -> None:
    """Annotates a scene; says how much more memory that took than what was there before."""
    cutting = Cutting(bands="3,2,1", stretch="abs:300..3360") if bits == "16" else Cutting()
    before = peak()
    job = Job(scene, (Layer(Path(out)), Layer(Path(out).with_suffix(".html"))), Path(out + ".journal"))
    annotate_scene(job, Asking((parse_question("[detection] red things"),), cutting), perfect.Oracle(TILE))
    print((peak() - before) // 1024)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("bits", "transform", "crs", "border"),
    [(16, ROTATED, "EPSG:32633", 300), (8, UTM, "EPSG:32633", 0), (8, DEGREES, "EPSG:4326", 300)],
    ids=["rotated, 16 bits, borders", "utm", "degrees, borders"],
)
def test_everything_is_found_in_less_than_a_gigabyte(tmp_path, bits, transform, crs, border):
    boxes = things()
    write(tmp_path / "s.tif", boxes, bits, transform, crs, border)
    paths = os.pathsep.join([str(Path(perfect.__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, __file__, str(tmp_path / "s.tif"), str(tmp_path / "o.geojson"), str(bits)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    assert 50 < int(done.stdout) < 1000
    found = [each["properties"] for each in json.loads((tmp_path / "o.geojson").read_text())["features"]]
    extents = [(p["column"], p["row"], p["column"] + p["width"], p["row"] + p["height"]) for p in found]
    shapes = shapely.box(*np.array(extents).T)
    hits = 0
    for box in boxes:
        true = shapely.box(*box)
        common = shapely.area(shapely.intersection(shapes, true))
        hits += (common / (shapely.area(shapes) + true.area - common)).max() >= 0.5
    cut = sum(any(x1 < k * STRIDE + TILE < x2 for k in range(30)) for x1, _, x2, _ in boxes)
    assert cut > len(boxes) / 3 and len(boxes) == 324
    assert (hits, len(found)) == (len(boxes), len(boxes))  # recall and precision are 1


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves parts of files, and notes how many bytes."""

    served = 0

    def do_GET(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        content = Path(self.translate_path(self.path)).read_bytes()
        first, last = (
            (int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)) if wanted else (0, len(content) - 1)
        )
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        Ranges.served += last - first + 1
        self.wfile.write(content[first : last + 1])

    def log_message(self, *_):
        pass


def test_a_scene_behind_an_address_is_read_in_pieces(tmp_path, draw, write_tiff, oracle):
    boxes = {"red": [(10, 10, 30, 40), (160, 120, 190, 150)]}
    write_tiff(tmp_path / "s.tif", draw(300, 200, boxes), UTM, "EPSG:32633", tiled=True, blockxsize=128, blockysize=128)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/s.tif"
        job = Job(address, (Layer(tmp_path / "o.geojson"),), tmp_path / "j")
        found = annotate_scene(job, Asking((parse_question("[detection] red things"),)), oracle)
    finally:
        server.shutdown()
    assert len(found.features) == 2 and Ranges.served


if __name__ == "__main__":
    main(*sys.argv[1:])
