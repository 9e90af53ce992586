"""Names of the Hugging Face hub on this machine."""

from __future__ import annotations

from pathlib import Path


def local_path(source: str | Path) -> Path | None:
    """A file or folder, or the folder into which a name of the hub was downloaded; None: neither is there."""
    if Path(source).exists():
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source), local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        return None
