"""Networks written in the terms of other packages, which then need no fastrecover: modules of PyTorch, ONNX graphs.

Each needs its package when it is called and not before.  Estimators of scikit-learn's kind are in ``estimators``.
"""

from __future__ import annotations

from ..models import Network


def check_built_in(model: Network, package: str) -> None:
    """Raise ValueError for an activation that another package cannot be told of.

    Parameters
    ----------
    model : Network
    package : str
        Whose expressions are needed.
    """
    if model.activation.functions is not None:
        raise ValueError(
            f"the activation {model.activation.name!r} is a user's function, which cannot be turned into operations of "
            f"{package}: built-in ones can"
        )
