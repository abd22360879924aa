"""Files of results: an .npz archive of plain arrays and one JSON header.

Nothing is pickled, so a file from a stranger can be loaded; the archive is written beside its place and moved
there, so a file is either the old one or the complete new one.  What a file claims about its size is compared with
what there is of it before anything is unpacked.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import uuid
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

FORMAT, SUMMARY, VERSION = "fastrecover.Recovery", "fastrecover.MomentSummary", 1
_SAID = {FORMAT: "recovery", SUMMARY: "summary of moments"}
_MOST_SWOLLEN = 100  # times that the parts of a file may be larger than itself
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def write(
    path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, np.ndarray], kind: str = FORMAT
) -> None:
    """Write a file; an existing one is replaced once the new one is complete, and its mode kept.

    A symbolic link stays one: the file that it names is written.

    Parameters
    ----------
    path : str or path-like
    header : dict
        Plain values.
    arrays : dict of ndarray
    kind : str
        What it is a file of.

    Raises
    ------
    OSError
        The folder does not exist or cannot be written to.
    TypeError
        A value that is not plain.
    """
    text = json.dumps({**header, "format": kind, "version": VERSION}, default=_plain)
    stored: dict[str, Any] = {**arrays, "header": np.frombuffer(text.encode(), np.uint8)}
    put(path, lambda file: np.savez(file, **stored))


def put(path: str | os.PathLike[str], fill: Callable[[BinaryIO], Any]) -> None:
    """Write a file whole or not at all; see :func:`write`.

    Parameters
    ----------
    path : str or path-like
    fill : callable
        Writes the contents to a file that is open.

    Raises
    ------
    OSError
        The folder does not exist or cannot be written to.
    """
    check_destination(Path(path))
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with open(beside, "xb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read(
    path: str | os.PathLike[str], names: Iterable[str], kind: str = FORMAT
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file.

    Parameters
    ----------
    path : str or path-like
    names : iterable of str
        Arrays to read where the file has them; others are left packed.
    kind : str
        What it must be a file of.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is not such a file, is damaged, or is of a newer format.
    """
    name = repr(os.fspath(path))
    with open(path, "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
            most = _MOST_SWOLLEN * os.fstat(file.fileno()).st_size
            header = json.loads(_member(archive, "header", most).tobytes().decode())
            if header["format"] != kind:
                raise ValueError(f"format {header['format']!r}")
            version = int(header["version"])
            there = [each for each in names if version <= VERSION and f"{each}.npy" in archive.namelist()]
            arrays = {each: _member(archive, each, most // len(there)) for each in there}
        except Exception as error:  # bytes from anywhere may raise anything in what reads them
            raise ValueError(f"{name} is not a saved {_SAID[kind]}, or is damaged: {said(error)}") from error
    if version > VERSION:
        raise ValueError(
            f"{name} has format version {version}, newer than version {VERSION}, which is understood here: "
            "upgrade fastrecover"
        )
    return header, arrays


def said(error: Exception) -> str:
    """What an error says, or its kind where it says nothing."""
    return str(error) or type(error).__name__


def _member(archive: zipfile.ZipFile, name: str, most: int) -> np.ndarray:
    """An array of at most so many bytes, whose claims of size are checked before memory is taken for it."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed in a way that is not used here")
    if info.file_size > most:
        raise ValueError(f"{name} claims to be of {info.file_size} bytes, too many for a file of this size")
    stream = io.BytesIO()
    with archive.open(info) as packed:
        shutil.copyfileobj(packed, stream)
    data = stream.getbuffer()
    stream.seek(0)
    shape, in_columns, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    if dtype.kind not in "fiubU":
        raise ValueError(f"{name} holds {dtype}, neither numbers nor text")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"{name} has another size than its shape {shape}")
    return np.ndarray(shape, dtype, data, stream.tell(), order="F" if in_columns else "C").copy()


def check_destination(path: Path) -> None:
    """Raise OSError unless a file can be put at `path`, or where a symbolic link there leads."""
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.is_symlink():
        raise OSError(f"cannot write {str(path)!r}: its symbolic links lead nowhere")
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a folder")
    if path.exists() and not path.is_file():
        raise OSError(f"cannot write {str(path)!r}: it is no regular file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"cannot write {str(path)!r}: the folder {str(path.parent)!r} is not writable")


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    kind = type(value).__name__
    raise TypeError(f"info holds a {kind}, which cannot be saved: use numbers, strings, lists or dicts")
