"""Names of the Hugging Face hub on this machine."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

_PATIENCE = 5.0  # seconds


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


@cache
def hub_is_reachable() -> bool:
    """Whether the hub can be asked at all. Its own library tries a name six times before it gives up, which takes half
    a minute; a host that is not found, or does not answer, is known at once."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # what stands between is asked, not the hub
    place = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((place.hostname or "", place.port or 443), timeout=_PATIENCE).close()
    except OSError:
        return False
    return True
