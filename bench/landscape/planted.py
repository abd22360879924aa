"""Teachers of the landscape studies: unit rows, orthonormal or stretched to a condition number, all weights one."""

from __future__ import annotations

import numpy as np


def unit_rows(m: int, d: int, condition: float, seed: int) -> np.ndarray:
    """Rows (m, d) of unit length; those before normalisation have the condition number."""
    rng = np.random.default_rng([23, seed])
    rows = np.linalg.qr(rng.standard_normal((d, m)))[0].T
    if condition > 1:
        rows = np.linalg.qr(rng.standard_normal((m, m)))[0] @ (np.linspace(1.0, condition, m)[:, None] * rows)
    return rows / np.linalg.norm(rows, axis=1)[:, None]


def planted(m: int, d: int, condition: float, n: int, seed: int):
    """Teacher, rows and exact responses."""
    import fastrecover as fr

    model = fr.models.Regression("relu", m)
    teacher = fr.datasets.Teacher(model, fr.models.Parameters(unit_rows(m, d, condition, seed), np.ones(m)))
    return teacher, *teacher.sample(n, random_state=700_000 + seed, n_jobs=1)


def worst_row(found: np.ndarray, rows: np.ndarray) -> float:
    """Smallest |cosine| between a row and its best partner, both ways round: 1 where every row is found once."""
    unit = found / np.maximum(np.linalg.norm(found, axis=1), 1e-300)[:, None]
    cosines = np.abs(unit @ rows.T)
    return float(min(cosines.max(axis=0).min(), cosines.max(axis=1).min()))
