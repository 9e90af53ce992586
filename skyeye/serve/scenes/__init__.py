"""Large scenes: windows of a raster are asked, and what is found comes back as one layer of map features."""
