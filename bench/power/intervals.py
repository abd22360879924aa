"""Coverage of 95 % intervals, for regressions and classifications alike."""

from __future__ import annotations

from typing import Any

import numpy as np

_NORMAL_95 = 1.959964


def z_scores(rec: Any, teacher: Any) -> np.ndarray:
    """Errors of all estimated parameters of a fit in units of their standard errors.

    Parameters
    ----------
    rec : Recovery
    teacher : Teacher
        The truth.

    Returns
    -------
    ndarray
        Units in the order of the truth's; what was not estimated (standard error 0) is left out.
    """
    from fastrecover.models import align

    found, truth = align(rec.parameters, teacher.parameters, rec.model.activation, rec.model.free_v)
    apart = ((found.weights[:, None] - rec.weights[None]) ** 2).sum(axis=2)
    errors = rec.standard_errors().reordered(apart.argmin(axis=1)).flat()
    estimated = errors > 0
    return (found.flat() - truth.flat())[estimated] / errors[estimated]


def summary(scores: list[np.ndarray | None]) -> dict[str, Any]:
    """Coverage over the fits that converged.

    Parameters
    ----------
    scores : list of ndarray or None
        z-scores of each fit, None where it has not converged.

    Returns
    -------
    dict
        ``fits``, ``converged``, ``coverage`` and its standard error (parameters of one fit are correlated, so it
        is that of the fits' means), standard deviation of z, and the largest bias of a parameter in errors.
    """
    z = np.array([one for one in scores if one is not None])
    inside = (np.abs(z) < _NORMAL_95).mean(axis=1) if len(z) else np.array([np.nan])
    return {
        "fits": len(scores),
        "converged": len(z),
        "coverage": float(np.mean(inside)),
        "its error": float(np.std(inside) / np.sqrt(len(inside))),
        "std of z": float(np.std(z)) if len(z) else float("nan"),
        "bias in errors": float(np.abs(z.mean(axis=0)).max()) if len(z) else float("nan"),
    }
