"""What the operators for PyTorch and JAX share: losses under the names and with the factors of those libraries."""

from __future__ import annotations

from collections.abc import Callable

#: By the names of ``torch.nn.functional``: our loss, and the factor from ours to theirs for m outputs.
LOSSES: dict[str, tuple[str, Callable[[int], float]]] = {
    "mse": ("squared", lambda m: 2.0 / m),
    "huber": ("huber", lambda m: 1.0 / m),
    "bce_with_logits": ("logistic", lambda m: 1.0),
    "cross_entropy": ("softmax", lambda m: 1.0),
    "poisson_nll": ("poisson", lambda m: 1.0),
}


def known_loss(kind: str, outputs: int | None = None) -> tuple[str, Callable[[int], float]]:
    """Our name of a loss and the factor to theirs, where it takes so many outputs.

    Raises
    ------
    ValueError
    """
    if kind not in LOSSES:
        raise ValueError(f"unknown loss {kind!r} (known: {', '.join(LOSSES)})")
    if kind in ("bce_with_logits", "poisson_nll") and outputs not in (None, 1):
        raise ValueError(f"{kind} takes a network of one output, got {outputs}")
    if kind == "cross_entropy" and outputs == 1:
        raise ValueError("cross_entropy takes a network of two outputs or more; of one: bce_with_logits")
    return LOSSES[kind]
