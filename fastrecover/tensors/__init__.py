"""Small symmetric tensors: packed storage and decomposition into non-orthogonal components.

Everything here works on arrays of side k (the number of hidden units), never on data, so it is plain NumPy.
"""

from __future__ import annotations

from .decomposition import Decomposition, decompose
from .symmetric import contracted, exponents, hermite_to_tensor, last_slice, multi_indices, pack, unpack

__all__ = [
    "Decomposition",
    "contracted",
    "decompose",
    "exponents",
    "hermite_to_tensor",
    "last_slice",
    "multi_indices",
    "pack",
    "unpack",
]


def __dir__() -> list[str]:
    return __all__
