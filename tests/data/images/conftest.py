"""Rasters written for the tests of pictures."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def write_raster():
    """Writes bands (n, height, width) as a raster and returns its path; keyword arguments go to rasterio."""
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo: pip install skyeye[geo]")

    def write(path, values, driver="GTiff", **profile):
        values = np.asarray(values)
        count, height, width = values.shape
        profile = {"dtype": values.dtype, **profile}
        with rasterio.open(path, "w", driver=driver, count=count, height=height, width=width, **profile) as file:
            file.write(values)
        return path

    return write


@pytest.fixture
def five_bands(tmp_path, write_raster):
    """Band n holds the values 0..99 times 10 n, row by row."""
    ramp = np.arange(100, dtype=np.uint16).reshape(10, 10)
    return write_raster(tmp_path / "a.tif", [ramp * 10 * n for n in range(1, 6)])
