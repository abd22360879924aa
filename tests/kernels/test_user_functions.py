"""Users' functions: what becomes of them, what tells them apart, and the code of them that is kept on disk."""

from __future__ import annotations

import ctypes
import json
import math
import re
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from enum import Enum
from math import exp, tanh
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from numba import njit

from fastrecover.activations import Activation, get_activation
from fastrecover.kernels import code_cache, user
from fastrecover.kernels.user_functions import digest

SCALE = 2.0
POINTS = np.random.default_rng(0).normal(0, 3, 203)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(code_cache.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(user, "_made", {})


def helper(z):
    return exp(-z)


@njit
def jitted_helper(z):
    return math.exp(-z)


def logistic(z):
    return 1.0 / (1.0 + math.exp(-z))


def logistic_slope(z):
    s = logistic(z)
    return s * (1.0 - s)


def logistic_bend(z):
    s = logistic(z)
    return s * (1.0 - s) * (1.0 - 2.0 * s)


def by_name(z):
    return 1.0 / (1.0 + helper(z))


def by_jitted(z):
    return 1.0 / (1.0 + jitted_helper(z))


def by_numpy(z):
    return np.where(z > 0, 1.0, np.exp(z)) / (1.0 + np.exp(-abs(z)))


def by_closure(power):
    return lambda z: 1.0 / (1.0 + power(-z))


def jets(functions, order=2, points=POINTS):
    """Value and derivatives by the compiled code."""
    act = Activation("own", -1, functions=functions)
    entry = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64)(user.address(act))
    out = np.full((3, len(points)), np.pi)
    where = [out[i].ctypes.data if i <= order else None for i in range(3)]
    entry(points.ctypes.data, *where, len(points))
    return out


@pytest.mark.parametrize(
    "function",
    [by_name, by_jitted, by_numpy, by_closure(math.exp), scipy.special.expit],
    ids=["helper", "jitted helper", "numpy", "closure", "scipy"],
)
def test_functions_are_what_they_are_however_they_are_written(function):
    found = jets((function, function))[:2]
    np.testing.assert_allclose(found, [get_activation("sigmoid").value(POINTS)] * 2, rtol=1e-13, atol=1e-16)


def test_what_is_not_wanted_is_not_written():
    act = get_activation("sigmoid")
    for order in (0, 1, 2):
        found = jets((logistic, logistic_slope, logistic_bend), order)
        expected = [act.evaluate(each, POINTS) for each in range(order + 1)]
        np.testing.assert_allclose(found[: order + 1], expected, rtol=1e-13, atol=1e-15)
        assert (found[order + 1 :] == np.pi).all()


def test_a_second_derivative_that_was_not_given_is_nan():
    found = jets(HINGE)
    np.testing.assert_array_equal(found[:2], [np.maximum(POINTS, 0.0), POINTS > 0])
    assert np.isnan(found[2]).all()


@pytest.mark.parametrize("function", [math.cos, np.arctan], ids=["builtin", "ufunc"])
def test_functions_of_libraries_are_taken_as_they_are(function):
    np.testing.assert_allclose(jets((function, logistic), 0)[0], [function(each) for each in POINTS], rtol=1e-15)


HINGE = (lambda z: max(z, 0.0), lambda z: 1.0 if z > 0 else 0.0)
FUNCTIONS = {
    "math": (logistic, logistic_slope, logistic_bend),
    "hinge": (*HINGE, lambda z: 0.0),
    "clipped": (lambda z: np.clip(z, -1.0, 1.0), lambda z: np.where(abs(z) < 1, 1.0, 0.0), lambda z: 0.0),
    "tanh": (tanh, lambda z: 1.0 - tanh(z) ** 2, lambda z: -2.0 * tanh(z) / math.cosh(z) ** 2),
    "erf": (math.erf, lambda z: 2.0 / math.sqrt(math.pi) * math.exp(-z * z), lambda z: -4.0 * z * math.exp(-z * z)),
    "softplus": (lambda z: np.logaddexp(0.0, z), logistic, logistic_slope),
    "elu": (lambda z: z if z > 0 else math.expm1(z), lambda z: 1.0 if z > 0 else math.exp(z), lambda z: z**3),
    "odd": (lambda z: math.sinh(z), lambda z: math.log1p(z * z), lambda z: math.log(abs(z))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_loops_are_vectorised_and_call_nothing(name):
    """All three loops; a call of the C library in one would keep it scalar, at a tenth of the speed."""
    text = user._compile("own", FUNCTIONS[name], "mark").inspect_llvm()
    body = re.search(r"^define [^\n]*loop_mark[^\n]*\{(.*?)^\}", text, re.M | re.S)[1]
    called = {each for each in re.findall(r"call [^\n]*?@([\w.]+)\(", body) if not each.startswith("llvm.")}
    assert not called
    assert len(re.findall(r"^(vector\.body\d*):", body, re.M)) == 3


def scaled(by):
    return lambda z: by * z


def steep(z):
    return 1.0


def outer(z):
    return SCALE * helper(z)


Pair, Riap = namedtuple("Pair", "a b"), namedtuple("Pair", "b a")
Slope, Steep = Enum("Slope", {"A": 2.0}), Enum("Slope", {"A": 3.0})


def test_functions_may_have_arrays_and_complex_numbers_within():
    a, c = np.array([0.5, 2.0]), np.array([1.0, -0.5])

    def several(z):
        return np.sum(c * np.tanh(a * z))

    def slope(z):
        return np.sum(c * a / np.cosh(a * z) ** 2)

    z = np.linspace(-2.0, 2.0, 9)
    u, d1, _ = jets((several, slope), 1, z)
    np.testing.assert_allclose(u, [several(each) for each in z], rtol=1e-14)
    np.testing.assert_allclose(d1, [slope(each) for each in z], rtol=1e-14)
    turned = jets((lambda z: np.exp(1j * z).imag, np.cos), 1, z)[0]
    np.testing.assert_allclose(turned, np.sin(z), rtol=1e-14)
    held = jets((lambda z: np.clip(z, a_min=-1.0, a_max=1.0), lambda z: 1.0), 1, z)[0]
    np.testing.assert_array_equal(held, np.clip(z, -1.0, 1.0))


def test_a_digest_tells_functions_apart_by_content(monkeypatch):
    same = [digest((lambda z: 2.0 * z,)), digest((lambda z: 2.0 * z,))]
    assert same[0] == same[1] is not None
    others = [
        (lambda z: 3.0 * z,),
        (lambda z: 2.0 + z,),
        (lambda z, a=2.0: a * z,),
        (lambda z, a=3.0: a * z,),
        (lambda z: 2.0 * z, lambda z: 2.0),
        (scaled(2.0),),
        (scaled(2),),
        (scaled(np.array([2.0])),),
        (scaled(math.exp),),
        (scaled(math.tanh),),
        (njit(lambda z: 2.0 * z),),
        (njit(fastmath=True)(lambda z: 2.0 * z),),
        (logistic,),
        (logistic_slope,),
        (outer,),
        (scaled(Pair(2.0, 3.0)),),
        (scaled(Riap(2.0, 3.0)),),
        (scaled(Slope.A),),
        (scaled(Steep.A),),
        (scaled(Slope),),
        (scaled(Steep),),
    ]
    found = [digest(each) for each in others]
    assert None not in found and len({same[0], *found}) == len(found) + 1
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    changed = digest((outer,))
    assert changed not in found
    monkeypatch.setattr(sys.modules[__name__], "helper", lambda z: exp(z))
    assert digest((outer,)) not in (*found, changed)
    assert digest((scaled(object()),)) is None
    assert digest((scaled(type("Slope", (), {"A": 2.0})),)) is None


def test_code_is_made_of_what_functions_refer_to_now(monkeypatch):
    functions = (outer, lambda z: 1.0)
    first = jets(functions)[0]
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 6.0)
    np.testing.assert_allclose(jets(functions)[0], 3.0 * first, rtol=1e-14)


def test_one_line_says_that_it_compiles_and_where_the_code_is_kept(capfd, tmp_path, monkeypatch):
    first = jets(HINGE)
    said = capfd.readouterr().err
    assert said == f"[fastrecover] compiling activation 'own', once: it is kept in {tmp_path / 'fastrecover'}\n"
    (kept,) = (tmp_path / "fastrecover").iterdir()
    monkeypatch.setattr(user, "_made", {})
    np.testing.assert_array_equal(jets(HINGE), first)
    jets(HINGE)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(user, "digest", lambda functions: None)
    monkeypatch.setattr(user, "_made", {})
    np.testing.assert_array_equal(jets(HINGE), first)
    assert capfd.readouterr().err == "[fastrecover] compiling activation 'own'\n"
    assert list((tmp_path / "fastrecover").iterdir()) == [kept]


def test_a_damaged_file_is_no_code(tmp_path):
    jets(HINGE)
    (kept,) = (tmp_path / "fastrecover").iterdir()
    whole = kept.read_bytes()
    assert code_cache.load(kept) is not None
    head, body = whole.split(b"\n", 1)
    for changed in ({"function": "nowhere"}, {"size": 0}, {"digest": "0"}):
        kept.write_bytes(json.dumps(json.loads(head) | changed).encode() + b"\n" + body)
        assert code_cache.load(kept) is None, changed
    for damaged in (whole[:-100], whole[:-1] + bytes([whole[-1] ^ 1]), b"", b"{}\n", body, head):
        kept.write_bytes(damaged)
        assert code_cache.load(kept) is None
    assert code_cache.load(tmp_path / "nothing") is None


def test_code_that_calls_what_this_process_does_not_have_is_not_loaded(tmp_path, monkeypatch):
    """LLVM would end the process."""
    jets((logistic, math.atan))
    (kept,) = (tmp_path / "fastrecover").iterdir()
    assert code_cache.load(kept) is not None
    monkeypatch.setattr(code_cache.binding, "address_of_symbol", lambda name: None)
    assert code_cache.load(kept) is None


def test_a_folder_that_cannot_be_made_costs_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(code_cache.config, "CACHE_DIR", str(tmp_path / "file"))
    assert np.isfinite(jets(HINGE, 1)[:2]).all()


def test_another_process_finds_the_code_and_does_not_take_its_own_for_it(tmp_path):
    """Numba names functions by counting them: those of two processes may have one name."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_user_functions import *\n"
        "code_cache.config.CACHE_DIR = sys.argv[2]\n"
        "for scale in sys.argv[3:]: print(jets((scaled(float(scale)), steep))[0, 0].hex())\n"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    first, second = (
        subprocess.run([*command, *scales], capture_output=True, text=True, check=True) for scales in ("2", ("3", "2"))
    )
    values = [float.fromhex(line) for each in (first, second) for line in each.stdout.split()]
    assert values == [2.0 * POINTS[0], 3.0 * POINTS[0], 2.0 * POINTS[0]]
    assert [each.stderr.count("compiling") for each in (first, second)] == [1, 1]


def test_functions_that_no_copy_can_be_made_of_are_named():
    odd = replace(Activation("odd", -1), functions=(logistic, print))
    with pytest.raises(TypeError, match=r"^derivative of activation 'odd' \(print\) "):
        user.address(odd)


def test_the_numba_kernels_say_that_they_are_compiled(capfd):
    from numba import float32
    from numba.core.event import trigger_event

    from fastrecover.kernels import numba_kernels

    with trigger_event("numba:compile", data={"dispatcher": njit(lambda: 0), "args": ()}):
        assert capfd.readouterr().err == ""
    with trigger_event("numba:compile", data={"dispatcher": numba_kernels._sweep, "args": (float32[::1],)}):
        said = capfd.readouterr().err
    assert said.startswith("[fastrecover] compiling the Numba kernels for float32 rows, once") and said.count("\n") == 1
