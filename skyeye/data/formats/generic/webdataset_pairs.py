"""WebDataset archives of images with captions: RS5M, and SkyScript or ChatEarthNet packed in this way.

A sample is a run of members whose names differ only in what follows the first dot: ``000123.jpg`` with ``000123.txt``,
or with ``000123.json`` that holds ``caption``, ``captions`` or ``text``; RS5M names them ``.img_content`` and
``.caption``. Nothing is extracted: a record's image is a reference to the place in the archive. The units are those of
:mod:`skyeye.data.formats.captions.base`; a sample without image or caption is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from skyeye.data.formats.base.annotation_files import annotation_files
from skyeye.data.formats.base.encoding import decode
from skyeye.data.formats.base.image_folder import BESIDE, IMAGE_SUFFIXES, ImageLookup
from skyeye.data.formats.base.noted import note
from skyeye.data.formats.base.problems import BadRecord, Problem
from skyeye.data.formats.base.splits import split_in
from skyeye.data.formats.captions.base import caption_records
from skyeye.data.images.reference import format_reference
from skyeye.data.record import Record
from skyeye.errors import SkyEyeError

CAPTION_SUFFIXES = ("txt", "caption", "json")
_IMAGES = {suffix[1:] for suffix in IMAGE_SUFFIXES} | {"img_content"}
_BLOCK = 512
MAX_TEXT = 1 << 20  # bytes of a caption
MAX_NAME = 1 << 16  # bytes of a long name


class Member(NamedTuple):
    """A regular file in an archive: its name and where its bytes are."""

    name: str
    offset: int
    size: int


def read(path: str | Path, images: ImageLookup = BESIDE, split: str | None = None) -> Iterator[Record | Problem]:
    """Caption records of one archive or of every ``*.tar`` below a folder.

    Args:
        path: archive or folder.
        images: not used; the images are in the archives.
        split: keep only this split; train, val or test in the name of the archive or its folder, else train.
    """
    path = Path(path)
    files = annotation_files(path, "**/*.tar") if path.is_dir() else [path]
    for file in files:
        of = split_in(file.relative_to(path) if path.is_dir() else file.name) or "train"
        if split is None or of == split:
            try:
                yield from _records(file, of)
            except BadRecord as error:  # the rest of this archive cannot be found any more
                yield error.problem()


def tar_members(file: BinaryIO, where: str) -> Iterator[Member]:
    """The regular files of an uncompressed tar archive, in order; headers are read, contents are passed over.

    Written out because the standard library's reader loads names and sizes of any length and has looped on damaged
    archives. Understands ustar, GNU long names and pax ``path`` and ``size``.

    Raises:
        BadRecord: not an archive, damaged, or cut off: inside a member, or before the block of zeros that ends it.
    """
    end = file.seek(0, 2)
    at, name, size = 0, None, None  # name and size as announced by an extension header
    while at + _BLOCK <= end:
        file.seek(at)
        header = file.read(_BLOCK)
        if not header.strip(b"\0"):
            return
        kind, own_name, own_size = _header(header, f"{where}, byte {at}")
        data = at + _BLOCK
        length = own_size if kind in b"LKxg" or size is None else size
        if data + length > end:
            raise BadRecord("damaged archive", f"{where}, byte {at}", f"ends inside the member {own_name[:60]!r}")
        if kind in b"Lx":
            if length > MAX_NAME:
                raise BadRecord("damaged archive", f"{where}, byte {at}", f"has a name of {length} bytes")
            content = file.read(length)
            if kind == b"L":
                name = content.rstrip(b"\0").decode("utf-8", "replace")
            else:
                fields = _pax(content, f"{where}, byte {at}")
                name, size = fields.get("path", name), int(fields["size"]) if "size" in fields else size
        elif kind not in b"Kg":
            if kind in b"0\0" + b"7":
                yield Member(own_name if name is None else name, data, length)
            name = size = None
        at = data + -(-length // _BLOCK) * _BLOCK
    if at == 0:
        raise BadRecord("damaged archive", where, f"is no tar archive ({end} bytes)")
    raise BadRecord("damaged archive", f"{where}, byte {at}", "has no end mark: what followed was cut off")


def _records(file: Path, split: str) -> Iterator[Record | Problem]:
    seen: set[str] = set()
    try:
        note("file", file)
        with open(file, "rb") as opened:
            for key, members in _samples(tar_members(opened, str(file))):
                where = f"{file}, sample {key}"
                id = f"{file.stem}/{key}"
                if id in seen:
                    yield Problem("duplicate id", where, "stands in this archive twice")
                    continue
                seen.add(id)
                try:
                    image = _image(file, members, where)
                    captions = _captions(opened, members, where)
                except BadRecord as error:
                    yield error.problem()
                    continue
                find = partial(_only, image)
                yield from caption_records(id, captions, find, key=id, source="", split=split, where=where)
    except OSError as error:
        raise BadRecord("damaged archive", str(file), f"cannot be read: {error.strerror or error}") from error


def _only(image: str) -> tuple[str]:
    return (image,)


def _samples(members: Iterator[Member]) -> Iterator[tuple[str, dict[str, Member]]]:
    """Runs of members with the same key, by suffix in lower case."""
    key = ""
    found: dict[str, Member] = {}
    try:
        for member in members:
            folder, _, base = member.name.rpartition("/")
            stem, _, suffix = base.partition(".")
            if not stem or not suffix:
                continue  # WebDataset passes over names without suffix, and over hidden files
            this = f"{folder}/{stem}" if folder else stem
            if found and (this != key or suffix.lower() in found):
                yield key, found
                found = {}
            key = this
            found[suffix.lower()] = member
    except BadRecord:
        if found:
            yield key, found  # complete as far as anybody can tell
        raise
    if found:
        yield key, found


def _image(file: Path, members: dict[str, Member], where: str) -> str:
    named = [suffix for suffix in members if suffix in _IMAGES]
    if len(named) != 1:
        raise BadRecord("no image", where, f"has {len(named)} images among its members: {', '.join(members)[:80]}")
    member = members[named[0]]
    if not member.size:
        raise BadRecord("unreadable image", where, f"{member.name[:80]} is empty (0 bytes)")
    return format_reference(file, offset=member.offset, size=member.size)


def _captions(opened: BinaryIO, members: dict[str, Member], where: str) -> list[object]:
    suffix = next((suffix for suffix in CAPTION_SUFFIXES if suffix in members), None)
    if suffix is None:
        raise BadRecord("no answer", where, f"has no {', '.join(CAPTION_SUFFIXES)} among its members")
    member = members[suffix]
    if member.size > MAX_TEXT:
        raise BadRecord("line too long", where, f"a caption of {member.size} bytes")
    opened.seek(member.offset)
    try:
        text = decode(opened.read(member.size), member.name[:80])
    except SkyEyeError as error:
        raise BadRecord("not text", where, f"{member.name[:80]} {error.what}") from error
    if suffix != "json":
        return [text]
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRecord("not JSON", where, f"{member.name[:80]} is not valid JSON: {str(error)[:80]}") from error
    if isinstance(content, dict):
        content = next((content[key] for key in ("captions", "caption", "text") if key in content), None)
    return content if isinstance(content, list) else [content]


def _header(header: bytes, where: str) -> tuple[bytes, str, int]:
    """Kind, name and size; the checksum is compared."""
    try:
        if int(header[148:156].strip(b"\0 ") or b"0", 8) != sum(header[:148]) + 8 * 32 + sum(header[156:]):
            raise ValueError("the checksum of a header is wrong")
        raw = header[124:136]
        # numbers beyond eleven octal digits are binary, with the highest bit set
        size = int.from_bytes(raw[1:], "big") if raw[0] == 0x80 else int(raw.strip(b"\0 ") or b"0", 8)
        if size < 0:
            raise ValueError("a size is negative")
    except ValueError as error:
        raise BadRecord("damaged archive", where, f"is no tar header: {error}") from error
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    full = prefix + b"/" + name if prefix else name
    return header[156:157], full.decode("utf-8", "replace"), size


def _pax(content: bytes, where: str) -> dict[str, str]:
    """``path`` and ``size`` of a pax header: lines ``length key=value``."""
    fields = {
        match[1].decode(): match[2].decode("utf-8", "replace")
        for match in re.finditer(rb"^\d+ (path|size)=([^\n]*)$", content, re.MULTILINE)
    }
    if not re.fullmatch("[0-9]{1,18}", fields.get("size", "0")):
        raise BadRecord("damaged archive", where, f"has the size {fields['size'][:30]!r}")
    return fields
