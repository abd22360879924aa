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


def test_a_record_holds_numbers_and_addresses():
    v = np.array([[2.0, 3.0]])
    op = RowFunction(Op.LOSS, get_activation("leaky_relu", 0.3), reps=1, k=2, v=v, c=np.array([0.5]), grad=True)
    record = op.record.view(RECORD)[0]
    assert (record["op"], record["k"], record["grad"], record["slope"]) == (Op.LOSS, 2, 1, 0.3)
    assert record["v"] == op.values["v"].ctypes.data and record["user"] == 0
    assert op.record is op.record  # made once, however many threads sweep it


def test_arrays_of_any_layout_live_as_long_as_the_record_that_points_to_them():
    v = np.arange(12.0).reshape(2, 6)[:, ::2]
    op = RowFunction(Op.LOSS, reps=2, k=3, v=v, c=[1, 2])
    record = op.record.view(RECORD)[0]
    del op.__dict__["values"]  # as when two threads make it at once, and one keeps its own
    held = {"v": op.v, "c": op.c, "dv": op.dv, "factors": op.factors}
    assert {name: int(record[name]) for name in held} == {name: each.ctypes.data for name, each in held.items()}
    np.testing.assert_array_equal(op.v, v)
    assert op.v.flags.c_contiguous and op.c.dtype == np.float64


def test_a_pickled_row_function_makes_a_record_of_its_own():
    op = RowFunction(Op.LOSS, k=2, v=np.ones((1, 2)), grad=True)
    op.record  # noqa: B018
    other = pickle.loads(pickle.dumps(op))
    assert not {"record", "values"} & vars(other).keys()
    assert other.record.view(RECORD)["v"][0] == other.v.ctypes.data != op.v.ctypes.data


def test_a_foreign_record_is_refused():
    class Foreign:
        record = np.zeros(RECORD.itemsize - 8, np.uint8)

    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match="row record"):
        compiled.sweep(x, None, None, np.zeros((1, 2)), Foreign(), 4, 4, 0, 1, np.zeros((1, 2)), np.zeros(3))
