"""The record that C reads is the one that Python declares."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from fastrecover.activations import get_activation
from fastrecover.kernels import Op, RowFunction
from fastrecover.kernels.op import RECORD

compiled = pytest.importorskip("fastrecover.kernels._compiled")


def test_fields_lie_where_the_header_puts_them():
    fields, size = compiled.record_layout()
    assert size == RECORD.itemsize
    assert fields == [(name, RECORD.fields[name][1], RECORD.fields[name][0].itemsize) for name in RECORD.names]


def read(op: RowFunction) -> tuple[np.void, dict[str, np.ndarray]]:
    """The record as C reads it, and the arrays where it says that they begin."""
    record = np.frombuffer(op.record, RECORD, 1)[0]
    sizes = {"v": (float, op.reps * op.k), "c": (float, op.reps), "factors": (np.int32, 4 * record["n_features"])}
    return record, {name: np.frombuffer(op.record, *each, record[name]) for name, each in sizes.items()}


def test_a_record_holds_numbers_and_arrays_of_any_layout():
    v, factors = np.arange(12.0).reshape(2, 6)[:, ::2], np.arange(8).reshape(4, 2).T
    op = RowFunction(Op.LOSS, get_activation("leaky_relu", 0.3), reps=2, k=3, v=v, c=[1, 2], factors=factors, grad=True)
    record, arrays = read(op)
    assert (record["op"], record["k"], record["grad"], record["slope"]) == (Op.LOSS, 3, 1, 0.3)
    assert record["user"] == 0 and record["dv"] == 0  # built in, and empty
    assert arrays["v"].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0] and arrays["c"].tolist() == [1.0, 2.0]
    assert arrays["factors"].tolist() == factors.ravel().tolist()
    assert op.record is op.record  # made once, however many threads sweep it


def test_a_pickled_row_function_makes_a_record_of_its_own():
    op = RowFunction(Op.LOSS, k=2, v=np.ones((1, 2)), grad=True)
    assert len(op.record) == RECORD.itemsize + 4 * 8  # v, c and dc
    other = pickle.loads(pickle.dumps(op))
    assert "record" not in vars(other)
    assert other.record == op.record


def test_a_foreign_record_is_refused():
    class Foreign:
        record = bytes(RECORD.itemsize - 8)

    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match="row record"):
        compiled.sweep(x, None, None, np.zeros((1, 2)), Foreign(), 4, 4, 0, 1, np.zeros((1, 2)), np.zeros(3))
