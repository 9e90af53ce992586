"""Shard sets behind a URL: what is needed is fetched once, checked, and kept in a folder."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from skyeye.config.paths import expanded
from skyeye.data.files import cache_folder
from skyeye.data.locks import one_at_a_time
from skyeye.errors import SkyEyeError

#: Fetched by ``webdataset.gopen``, which calls curl, gsutil, ... ``pipe:`` would let a recipe run any command.
SCHEMES = ("http", "https", "gs", "ais", "hf", "ftps", "sftp")
_PIECE = 1 << 20
_HEADER_LIMIT = 256 << 20
_ALLOWED = re.compile(r"[a-z]+://[A-Za-z0-9._~:/@%+=,-]+")


def is_url(path: str) -> bool:
    return "://" in path


class Origin:
    """A shard set's URL and the folder that keeps what was fetched from it.

    Args:
        url: of the folder that holds ``index.json``.
        cache: folder of all fetched sets; default that of :func:`skyeye.data.files.cache_folder`.

    Raises:
        SkyEyeError: a scheme that is not in :data:`SCHEMES`, or signs that a shell could understand.
    """

    def __init__(self, url: str, cache: str | Path | None = None):
        self.url = url.rstrip("/")
        if urlsplit(url).scheme not in SCHEMES or not _ALLOWED.fullmatch(url):
            raise SkyEyeError(
                "is no URL that shards are fetched from", where=url, remedy=f"{', '.join(SCHEMES)}; plain signs only"
            )
        name = hashlib.sha256(self.url.encode()).hexdigest()[:24]
        self.folder = (Path(expanded(str(cache))) if cache else cache_folder("shards")) / name

    def fetch(self, name: str, about: dict[str, Any] | None = None) -> Path:
        """The local copy of a file of the set, which bears its checksum in its name; fetched when it is not there.

        Args:
            about: ``bytes`` and ``sha256`` that it must have; None for the header, which is fetched anew each time
                it is asked for, so that a set that was packed again is noticed.

        Raises:
            SkyEyeError: it cannot be fetched, or is not what the index promises.
        """
        target = self.folder / (f"{about['sha256'][:24]}-{Path(name).name}" if about else name)
        if about is not None and target.is_file() and target.stat().st_size == about["bytes"]:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(target.with_name(f".{target.name}.lock")):  # several workers want the same shard
            if about is None or not target.is_file() or target.stat().st_size != about["bytes"]:
                self._download(name, target, about)
        return target

    def _download(self, name: str, target: Path, about: dict[str, Any] | None) -> None:
        from webdataset.gopen import gopen

        url, partial = f"{self.url}/{name}", target.with_name(f".{target.name}.{os.getpid()}.partial")
        limit = about["bytes"] if about else _HEADER_LIMIT
        digest, size = hashlib.sha256(), 0
        try:
            with gopen(url) as stream, open(partial, "wb") as file:
                while piece := stream.read(_PIECE):
                    size += len(piece)
                    if size > limit:
                        break
                    digest.update(piece)
                    file.write(piece)
            if size == 0 or size > limit or (about and (size, digest.hexdigest()) != (limit, about["sha256"])):
                got = f"more than {limit}" if size > limit else f"{size}"
                what = f"what was fetched ({got} bytes) is not what the index promises"
                raise SkyEyeError(what, where=url, remedy="check the URL; the upload may be incomplete")
            os.replace(partial, target)
        except OSError as error:  # gopen's pipes raise IOError for the exit status of curl
            raise SkyEyeError(
                f"cannot be fetched: {error}", where=url, remedy="check the URL and the network"
            ) from error
        finally:
            partial.unlink(missing_ok=True)
