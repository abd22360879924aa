"""Arguments and data of a fit as plain values, by which it is told from other fits."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any, cast

import numpy as np

from .activations import Activation
from .activations.traits import POINTS
from .engines import Engine
from .kernels import RowFunction
from .kernels.op import RECORD

_RUNS, _LENGTH = 8, 64  # rows that are looked at: so many runs, of so many each
_USER = int(cast(Any, RECORD.fields)["user"][1])  # bytes before the address of a user's function


def plain(value: Any) -> Any:
    """Any argument of a fit as plain data, which is equal where arguments mean the same.

    Parameters
    ----------
    value : any
        Arrays become digests, functions their names, objects their attributes.

    Returns
    -------
    None, bool, int, float, str, list or dict
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "dtype": value.dtype.str, "digest": _digest(value).hex()}
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Activation):
        given = [plain(value.evaluate(order, POINTS)) for order in range(len(value.functions or ()))]
        return [value.name, value.slope, *given] if given or value.takes_slope else value.name
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    kind = type(value)
    if is_dataclass(value) and not isinstance(value, type):
        held = {each.name: plain(getattr(value, each.name)) for each in fields(value)}
        return {"type": kind.__qualname__} | held if held else kind.__qualname__
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', kind.__qualname__)}"
    public = {name: each for name, each in getattr(value, "__dict__", {}).items() if not name.startswith("_")}
    return {"type": kind.__qualname__} | plain(public)


def data_of(engine: Engine) -> dict[str, Any]:
    """What is known of data without a pass over the rows: shape, some rows, all responses and weights.

    Parameters
    ----------
    engine : Engine

    Returns
    -------
    dict
        Plain values.
    """
    n = engine.shape[0]
    starts = sorted({(n - min(_LENGTH, n)) * i // (_RUNS - 1) for i in range(_RUNS)})
    looked_at = [engine.rows(start, min(start + _LENGTH, n)).x for start in starts]
    y, w = engine.digests()
    return {
        "rows of X": n,
        "columns of X": engine.shape[1],
        "dtype of X": str(engine.dtype),
        "X": plain(np.concatenate(looked_at)),
        "y": {"digest": y},
        "the weights of samples": None if w is None else {"digest": w},
    }


def seeds_of(seeds: np.random.SeedSequence) -> dict[str, Any]:
    """A root of random numbers as plain data: the arguments of a SeedSequence."""
    entropy: Any = seeds.entropy
    numbers = int(entropy) if isinstance(entropy, (int, np.integer)) else [int(each) for each in entropy]
    return {"entropy": numbers, "spawn_key": [int(key) for key in seeds.spawn_key], "pool_size": seeds.pool_size}


def differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """What differs, in words: by name, and with both values where these are short; empty where nothing does."""
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return "; ".join(_difference(name, there.get(name), here.get(name)) for name in names)


def _difference(name: str, there: Any, here: Any) -> str:
    old, new = _short(there), _short(here)
    return f"{name} was {old} and is {new}" if old and new and old != new else f"{name} has other values"


def _short(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("entropy"), int) and not value["spawn_key"]:
        return str(value["entropy"])
    text = "None" if value is None else json.dumps(value)
    return "" if isinstance(value, dict) or len(text) > 80 else text


def sweep_digest(p: np.ndarray, op: RowFunction, rows: int) -> bytes:
    """Digest of what a sweep over so many rows is asked: 16 bytes."""
    record = bytearray(op.record)
    record[_USER : _USER + 8] = bytes(8)  # an address of this process
    found = blake2b(repr((rows, p.shape)).encode(), digest_size=16)
    found.update(record)
    found.update(np.ascontiguousarray(p, np.float64).data)
    return found.digest()


def _digest(array: np.ndarray) -> bytes:
    return blake2b(np.ascontiguousarray(array).data, digest_size=16).digest()
