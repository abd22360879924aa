"""The record that C reads is the one that Python declares."""

from __future__ import annotations

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


def test_a_foreign_record_is_refused():
    class Foreign:
        record = np.zeros(RECORD.itemsize - 8, np.uint8)

    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match="row record"):
        compiled.sweep(x, None, None, np.zeros((1, 2)), Foreign(), 4, 4, 0, 1, np.zeros((1, 2)), np.zeros(3))
