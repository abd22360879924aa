"""The landscape and quadratic studies in quick form: what they plant, how they judge, and their pictures."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from bench.harness import Context
from bench.landscape import descent
from bench.landscape.pictures import pictures
from bench.landscape.planted import planted, unit_rows, worst_row


def quick(case: str) -> list[dict]:
    return list(importlib.import_module(f"bench.{case}").run(Context(1, quick=True)))


@pytest.mark.parametrize("condition", [1.0, 3.0])
def test_rows_have_unit_length_and_the_condition_before_it(condition):
    rows = unit_rows(4, 7, condition, 0)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-12)
    if condition == 1.0:
        np.testing.assert_allclose(rows @ rows.T, np.eye(4), atol=1e-12)
    teacher, X, y = planted(4, 7, condition, 50, 0)
    np.testing.assert_allclose(y, np.maximum(X @ teacher.weights.T, 0).sum(axis=1), rtol=1e-12)


def test_duplicated_rows_do_not_count_as_found():
    rows = np.eye(3)
    assert worst_row(-2.0 * rows[[2, 0, 1]], rows) == pytest.approx(1.0)
    assert worst_row(rows[[0, 0, 1]], rows) == 0.0


def test_error_of_descent_is_zero_at_both_kinds_of_minima():
    rows = unit_rows(4, 4, 2.0, 1)
    assert descent._error("squared loss", rows[[1, 0, 3, 2]], rows) == pytest.approx(0.0, abs=1e-12)
    assert descent._error("G", 3.0 * np.linalg.inv(rows).T, rows) == pytest.approx(0.0, abs=1e-12)
    assert descent._error("squared loss", rows[[0, 0, 1, 2]], rows) == pytest.approx(1.0)


def test_quick_forms_run_and_are_drawn(tmp_path):
    cases = {f"landscape.{study}": {"rows": quick(f"landscape.{study}")} for study in ("descent", "success", "large")}
    found = {row["objective"]: row["found"] for row in cases["landscape.descent"]["rows"]}
    assert found["G"] == 2
    for row in cases["landscape.success"]["rows"]:
        assert row["stage"] == row["refined"] == row["fit"] == row["seeds"] == 2
    assert cases["landscape.large"]["rows"][0]["found"] == 8
    for path in pictures(cases, tmp_path):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.filterwarnings("ignore:fit did not converge")
@pytest.mark.parametrize("study", ["success", "noise", "passes", "stages"])
def test_quadratic_studies_run(study):
    rows = quick(f"quadratic.{study}")
    assert rows
    if study == "success":
        assert all(row["exact"] == row["seeds"] for row in rows if row["who"] == "ours")
