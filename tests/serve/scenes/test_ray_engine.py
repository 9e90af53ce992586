"""Scenes on a local cluster of Ray: the same bytes as alone, also when a worker is killed."""

import os
import signal
import threading
import time

import perfect
import pytest

from skyeye.serve.scenes.annotate import Asking
from skyeye.serve.scenes.many import annotate_many, jobs_of, scenes_of
from skyeye.serve.scenes.questions import parse_question
from skyeye.serve.scenes.ray_engine import Described, annotate_by_ray

PLACE = ((0.5, 0.0, 500_000.0, 0.0, -0.5, 5_300_000.0), "EPSG:32633")
RED = {"red": [(10, 10, 30, 40), (60, 20, 130, 45), (70, 140, 110, 190)]}
ASKING = Asking((parse_question("[detection] red things"),), chunk=2)


class Slow(perfect.Oracle):
    """Leaves its process number in a folder, and takes long enough to be killed."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def answer(self, prepared, turns):
        (self.folder / str(os.getpid())).touch()
        time.sleep(0.2)
        return super().answer(prepared, turns)


@pytest.mark.slow
def test_two_workers_and_one_killed_write_what_one_process_writes(tmp_path, draw, write_tiff, oracle, monkeypatch):
    ray = pytest.importorskip("ray", reason="needs ray (pip install skyeye[ray])")
    folder, alive = tmp_path / "scenes", tmp_path / "alive"
    folder.mkdir()
    alive.mkdir()
    for number in range(2):
        write_tiff(folder / f"{number}.tif", draw(700, 500, RED), *PLACE)
    (folder / "bad.tif").write_bytes(b"II*\0 no tiff")
    scenes = scenes_of(str(folder))
    alone = annotate_many(jobs_of(scenes, tmp_path / "a", [".geojson"], "EPSG:4326"), ASKING, oracle, tmp_path / "a")
    here = os.path.dirname(perfect.__file__)
    paths = os.pathsep.join([here, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": paths}})
    killed = []

    def kill():
        while len(list(alive.iterdir())) < 2:
            time.sleep(0.05)
        killed.append(int(sorted(alive.iterdir())[0].name))
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    try:
        jobs = jobs_of(scenes, tmp_path / "b", [".geojson"], "EPSG:4326")
        described = Described(lambda: Slow(alive), "oracle", 100)
        report = annotate_by_ray(jobs, ASKING, described, tmp_path / "b", replicas=2)
    finally:
        ray.shutdown()
    assert killed and len(list(alive.iterdir())) >= 3  # another one took its place
    assert len(report.scenes) == 2 and [scene for scene, _ in report.problems] == [str(folder / "bad.tif")]
    assert report.scenes == alone.scenes
    for name in ("0.geojson", "1.geojson"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    again = annotate_by_ray(jobs, ASKING, described, tmp_path / "b", replicas=2)  # nothing is left: no cluster is asked
    assert again.scenes == report.scenes and not ray.is_initialized()
