"""Starts that have a name: one row each, all that the rest of the package must know of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..models import Network
from .base import Start
from .landscape import check_landscape, landscape_start
from .message_passing import check_message_passing, message_passing_start
from .published import check_published, published_start
from .spectral import check_spectral, spectral_start
from .tensor import check_resolvable, tensor_start


@dataclass(frozen=True)
class NamedStart:
    """A start that relies on moments of Gaussian rows.

    Attributes
    ----------
    find : Start
    check : callable
        ``check(model, n_features)`` raises StartError, before any work, where it cannot find the weights.
    whitens : bool
        Whether it sees whitened rows of a sub-sample; a published algorithm sees all rows as they are.
    """

    find: Start
    check: Callable[[Network, int], None]
    whitens: bool = True


STARTS: dict[str, NamedStart] = {
    "tensor": NamedStart(tensor_start, check_resolvable),
    "tensor-published": NamedStart(published_start, check_published, whitens=False),
    "landscape": NamedStart(landscape_start, check_landscape),
    "spectral": NamedStart(spectral_start, check_spectral),
    "message-passing": NamedStart(message_passing_start, check_message_passing),
}
