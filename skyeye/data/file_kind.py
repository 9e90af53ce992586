"""What a file is when it is not what it was taken for: told by its first bytes, in words for a message."""

from __future__ import annotations

#: As many bytes as :func:`describe_content` looks at.
HEAD = 512

_FETCH = "fetch the file itself"
_UNPACK = "unpack it and name the files inside"
_VIDEO = "a video", "name one of its frames: clip.mp4#frame=12"
_PHONE = "a HEIC picture, which is not read here", "convert it to JPEG or PNG"
_SCIENCE = "export its layers as GeoTIFF or PNG"
#: (where it stands, first bytes, what it is, what to do)
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PK\x03\x04", "a ZIP archive", _UNPACK),
    (0, b"PK\x05\x06", "an empty ZIP archive", _FETCH),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"%PDF", "a PDF document", "save its pictures as PNG"),
    (0, b"\xd0\xcf\x11\xe0", "an Office document", "save its content in another format"),
    (0, b"\x1a\x45\xdf\xa3", *_VIDEO),
    (8, b"AVI ", *_VIDEO),
    (0, b"FLV\x01", *_VIDEO),
    (0, b"\0\0\x01\xba", *_VIDEO),
    *((8, brand, *_PHONE) for brand in (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")),
    (4, b"ftyp", *_VIDEO),
    (0, b"\x89HDF", "an HDF5 file (NetCDF, MATLAB)", _SCIENCE),
    (0, b"CDF", "a NetCDF file", _SCIENCE),
    (0, b"MATLAB 5", "a MATLAB file", _SCIENCE),
    (0, b"\x93NUMPY", "a NumPy array", "save it as GeoTIFF or PNG"),
    (0, b"PAR1", "a Parquet table", "write it as JSON lines"),
    (0, b"\x80\x04\x95", "a Python pickle", "write it as JSON lines"),
    (0, b"SQLite format 3", "an SQLite database (GeoPackage, MBTiles)", _SCIENCE),
    (0, b"\0\0\x27\x0a", "a shapefile", "name the picture it belongs to"),
    (0, b"\x89PNG", "a PNG picture", "give the file that is meant"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give the file that is meant"),
    (0, b"II*\0", "a TIFF picture", "give the file that is meant"),
    (0, b"MM\0*", "a TIFF picture", "give the file that is meant"),
    (0, b"GIF8", "a GIF picture", "give the file that is meant"),
)


def describe_content(head: bytes) -> tuple[str, str] | None:
    """What a file is and what to do about it, by its first :data:`HEAD` bytes; None: nothing that is known."""
    if not head:
        return "empty (0 bytes)", "fetch the file again"
    if not head.strip(b"\0"):
        return "zero bytes only", "its download or copy was not finished: fetch the file again"
    for place, start, what, remedy in _SIGNATURES:
        if head[place:].startswith(start):
            return what, remedy
    return _text(head)


def _text(head: bytes) -> tuple[str, str] | None:
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        # a character of several bytes may be cut at the end
        text = head.decode("utf-16" if wide else "utf-8-sig", "strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        return None
    if "\0" in text:  # the first letters of another kind of file
        return None
    start = text.lstrip().lower()
    if start.startswith("version https://git-lfs"):
        return "a Git LFS pointer, not the file it stands for", "fetch the content: git lfs pull"
    if start.startswith(("<!doctype html", "<html", "<head")):
        return "a web page (HTML): the download was answered with a page", _FETCH
    if start.startswith("<svg") or "<svg" in start:
        return "an SVG drawing", "export it as PNG"
    if start.startswith("<"):
        return "XML", _FETCH
    if start.startswith(("{", "[")):
        return "JSON", _FETCH
    if any(not (c.isprintable() or c in "\r\n\t\f") for c in text):
        return None
    return "text", _FETCH
