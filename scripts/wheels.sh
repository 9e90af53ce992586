#!/usr/bin/env bash
# Collects what a GPU machine without network may lack (no CUDA, no torch) into wheels/, below 60 MB, to be carried along:
#   bash scripts/wheels.sh [FOLDER]           on a machine with network
#   bash scripts/full_size.sh --gpu           on the other one takes what lies in wheels/
# pycocoevalcap comes without SPICE and without METEOR's tables (96 MB): captions are then scored without METEOR.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-wheels}
python=${PYTHON:-.venv/bin/python}
most=$((60 * 1000 * 1000))
mkdir -p "$folder"
rm -f "$folder"/*.whl
# DeepSpeed comes as source; its extensions are built where they are used.
DS_BUILD_OPS=0 "$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder" \
    omegaconf antlr4-python3-runtime==4.9.3 webdataset braceexpand pycocoevalcap deepspeed hjson py-cpuinfo einops msgpack
"$python" - "$folder" "$most" <<'PYTHON'
import sys, zipfile
from pathlib import Path

folder, most = Path(sys.argv[1]), int(sys.argv[2])
for wheel in folder.glob("pycocoevalcap-*.whl"):
    slim = wheel.with_suffix(".slim")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED) as kept:
        for entry in whole.infolist():
            if not entry.filename.startswith(("pycocoevalcap/spice/", "pycocoevalcap/meteor/data/")):
                kept.writestr(entry, whole.read(entry))
    slim.replace(wheel)
size = sum(file.stat().st_size for file in folder.glob("*.whl"))
for file in sorted(folder.glob("*.whl")):
    print(f"{file.stat().st_size / 1e6:8.2f} MB  {file.name}")
print(f"{size / 1e6:8.2f} MB in all")
sys.exit(f"error: {folder}: more than {most / 1e6:.0f} MB" if size > most else 0)
PYTHON
