"""Saved recoveries: an .npz archive of plain arrays and one JSON header.

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

from .models import Parameters, rebuilt
from .recovery import HISTORY, Recovery

FORMAT, VERSION = "fastrecover.Recovery", 1
_WRONG = (ValueError, KeyError, TypeError, AttributeError)
# A wrong offset in an archive shows as OSError, a wrong flag as RuntimeError.
_UNREADABLE = (*_WRONG, EOFError, OSError, RuntimeError, zlib.error, zipfile.BadZipFile)
_SCALARS = ("loss", "converged", "message", "n_passes", "n_rows", "seconds", "info")


def save(recovery: Recovery, path: str | os.PathLike[str]) -> None:
    """Write a recovery; see :meth:`Recovery.save`."""
    path = Path(path)
    check_destination(path)
    p = recovery.parameters
    header = {name: getattr(recovery, name) for name in _SCALARS}
    header |= dict(format=FORMAT, version=VERSION, model=recovery.model.describe(), intercept=p.intercept)
    arrays: dict[str, Any] = {f"history_{name}": column for name, column in recovery.history.items()}
    arrays |= {"weights": p.weights, "output_weights": p.output_weights}
    if p.linear is not None:
        arrays["linear"] = p.linear
    text = json.dumps(header, default=_plain)
    arrays["header"] = np.frombuffer(text.encode(), np.uint8)

    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(beside, "xb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Recovery:
    """Read a recovery; see :func:`fastrecover.recovery.load`."""
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
    try:
        return _rebuilt(header, arrays)
    except _WRONG as error:
        raise ValueError(f"{name} is a damaged recovery: {error}") from error


def check_destination(path: Path) -> None:
    """Raise OSError unless a file can be put at `path`."""
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"cannot write {str(path)!r}: the folder {str(path.parent)!r} is not writable")


def _rebuilt(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Recovery:
    model = rebuilt(header["model"])
    w, v, b = arrays["weights"], arrays["output_weights"], arrays.get("linear")
    k = (model.n_hidden,)
    if w.ndim != 2 or w.shape[:1] != k or v.shape != k or (b is not None and b.shape != w.shape[1:]):
        raise ValueError("the shapes of its arrays contradict each other")
    return Recovery(
        model=model,
        parameters=Parameters(w, v, b, float(header["intercept"])),
        history={name: arrays[f"history_{name}"] for name in HISTORY},
        **{name: header[name] for name in _SCALARS},
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    kind = type(value).__name__
    raise TypeError(f"info holds a {kind}, which cannot be saved: use numbers, strings, lists or dicts")
