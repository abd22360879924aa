"""Files of results: an .npz archive of plain arrays and one JSON header.

Nothing is pickled, so a file from a stranger can be loaded; the archive is written beside its place and moved
there, so a file is either the old one or the complete new one.
"""

from __future__ import annotations

import json
import os
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FORMAT, VERSION = "fastrecover.Recovery", 1
#: What contents of the wrong kind raise where they are put to use.
WRONG = (ValueError, KeyError, TypeError, AttributeError)
# A wrong offset in an archive shows as OSError, a wrong flag as RuntimeError.
_UNREADABLE = (*WRONG, EOFError, OSError, RuntimeError, zlib.error, zipfile.BadZipFile)


def write(path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a file; an existing one is replaced once the new one is complete.

    Parameters
    ----------
    path : str or path-like
    header : dict
        Plain values.
    arrays : dict of ndarray

    Raises
    ------
    OSError
        The folder does not exist or cannot be written to.
    TypeError
        A value that is not plain.
    """
    path = Path(path)
    check_destination(path)
    text = json.dumps({**header, "format": FORMAT, "version": VERSION}, default=_plain)
    stored: dict[str, Any] = {**arrays, "header": np.frombuffer(text.encode(), np.uint8)}

    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(beside, "xb") as file:
            np.savez(file, **stored)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file.

    Parameters
    ----------
    path : str or path-like

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
            archive = np.load(file, allow_pickle=False)
            arrays = {name: archive[name] for name in archive.files}
            header = json.loads(arrays.pop("header").tobytes().decode())
            if header["format"] != FORMAT:
                raise ValueError(f"format {header['format']!r}")
            version = int(header["version"])
        except _UNREADABLE as error:
            raise ValueError(f"{name} is not a saved recovery, or is damaged: {error}") from error
    if version > VERSION:
        raise ValueError(
            f"{name} has format version {version}, newer than version {VERSION}, which is understood here: "
            "upgrade fastrecover"
        )
    return header, arrays


def check_destination(path: Path) -> None:
    """Raise OSError unless a file can be put at `path`."""
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a folder")
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
