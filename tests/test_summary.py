"""Summaries as text and for notebooks: what they say is what the recovery holds, and they stay short and safe."""

from __future__ import annotations

import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from every_network import STRINGS, recoveries, recovery_of
from hypothesis import given, settings
from hypothesis import strategies as st

import fastrecover as fr
from fastrecover.models import Parameters, Regression


@pytest.fixture(scope="module")
def fitted():
    teacher = fr.datasets.make_teacher("tanh", 4, 2, output_weights="free", hidden_bias=True, intercept=0.5)
    X, y = teacher.sample(300, noise=0.1, random_state=1)
    options = {"output_weights": "free", "hidden_bias": True, "fit_intercept": True, "random_state": 0}
    return fr.fit(X, y, "tanh", 2, **options)


def rows_of(text):
    """Lines of the table of parameters by their first cell."""
    below = text.split("\nparameter")[1].splitlines()
    found = {}
    for line in below[1:]:
        name, *cells = re.split(r"  +", line.strip())
        found[name] = cells
    return below[0], found


def test_every_parameter_has_its_interval(fitted):
    text = fitted.summary(0.9)
    head, rows = rows_of(text)
    assert head.split() == ["estimate", "std.", "error", "90", "%", "from", "to"]
    low, high = fitted.conf_int(0.9)
    errors = fitted.standard_errors()
    names = ["intercept", "output_weights[0]", "output_weights[1]", "biases[0]", "biases[1]"]
    assert list(rows) == names + [f"weights[{j}, {i}]" for j in range(2) for i in range(4)]
    for name, cells in rows.items():
        parts = (eval(f"p.{name}", {"p": p}) for p in (fitted.parameters, errors, low, high))  # as a reader would
        assert [float(cell) for cell in cells] == pytest.approx(list(parts), rel=0.05)
        assert float(cells[2]) < float(cells[0]) < float(cells[3])
    assert "no intervals" not in text


def test_without_intervals_it_is_said_why(fitted):
    copied = pickle.loads(pickle.dumps(fitted))
    assert copied.summary() == fitted.summary()  # errors stay
    X, y = np.random.default_rng(0).standard_normal((2, 40, 3))
    rec = pickle.loads(pickle.dumps(fr.fit(X, y[:, 0], "tanh", 1, random_state=0, restarts=1)))
    head, rows = rows_of(rec.summary())
    assert head.split() == ["estimate"] and all(len(cells) == 1 for name, cells in rows.items() if "[" in name)
    last = rec.summary().splitlines()[-1]
    assert last == "no intervals: this recovery holds no data (it was loaded or copied): give X and y to conf_int"
    twins = recovery_of(Regression("relu", 2), Parameters(np.ones((2, 2)), np.ones(2)), n_queries=17, n_rows=17)
    assert "17 queries" in twins.summary() and twins.summary().splitlines()[-1].startswith("no intervals: answers")
    assert "passes" not in twins.summary()
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        twins.summary(95)


def test_intervals_that_take_long_are_left_to_the_user(fitted, monkeypatch):
    X, y = fr.datasets.make_teacher("tanh", 4, 1).sample(200, noise=0.1)
    rec = fr.fit(X, y, "tanh", 1, random_state=0)
    monkeypatch.setattr("fastrecover._summary.QUICK", 100.0)
    assert rec.summary().endswith("no intervals: they take a while to compute here, which conf_int() does")
    assert rec.parameters.errors is None
    rec.conf_int()
    assert "no intervals" not in rec.summary()


def test_large_weights_are_told_of():
    model = Regression("relu", 2, linear_term=True)
    text = recovery_of(model, Parameters(np.full((2, 2), 3e200), np.ones(2), np.full(2, 4e200))).summary()
    assert "4.24264e+200" in text and "linear term of norm 5.65685e+200" in text


def test_a_network_with_biases_and_a_penalty():
    teacher = fr.datasets.make_teacher("tanh", 4, 2, hidden_bias=[0.125, -3.5], intercept=0.5)
    lines = recovery_of(teacher.model, teacher.parameters, info={"alpha": 0.03}).summary().splitlines()
    assert lines[1] == "loss 0.25 with a penalty of alpha 0.03 after 2.0 passes, 0.50 s: done"
    assert lines[2].split() == ["unit", "norm", "bias", "output", "weight"]
    assert [line.split()[2] for line in lines[3:5]] == ["0.125", "-3.5"]
    assert len({len(line) for line in lines[2:5]}) == 1


def test_several_outputs():
    v, b = np.array([[3.0, 0.0], [4.0, 2.0], [0.0, 0.0]]), np.zeros((3, 4))
    b[1, 2], b[2, 0] = 3.0, 4.0
    model = Regression("tanh", 2, "free", True, True).changed(n_outputs=3)
    text = recovery_of(model, Parameters(np.ones((2, 4)), v, b, np.array([1.0, -2.5, 0.0]))).summary()
    lines = text.splitlines()
    assert lines[0] == "tanh: 2 units, 4 features, 3 outputs, 100 rows"
    assert lines[2].endswith("norm of output weights") and "bias" not in text and "penalty" not in text
    assert [line.split()[-1] for line in lines[3:5]] == ["5", "2"] and lines[5] == "linear terms of norm 5"
    _, rows = rows_of(text)
    assert [rows[f"intercept[{o}]"] for o in range(3)] == [["1"], ["-2.5"], ["0"]]
    assert rows["linear[2, 0]"] == ["4"] and "... 6 more linear, none above 0 in size" in text


def test_of_many_the_largest_are_told_in_order():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((40, 30))
    rec = recovery_of(Regression("relu", 40, "free", hidden_bias=True), Parameters(w, np.ones(40), biases=np.ones(40)))
    _, rows = rows_of(rec.summary())
    told = [float(cells[0]) for name, cells in rows.items() if name.startswith("weights[")]
    ordered = np.sort(np.abs(w).ravel())[::-1]
    np.testing.assert_allclose(np.abs(told), ordered[:12], rtol=1e-5)
    assert f"... 1188 more weights, none above {ordered[12]:.6g} in size" in rec.summary()
    assert "... 20 more units" in rec.summary() and len(rec.summary().splitlines()) < 60


def test_what_is_open_and_what_was_given():
    open_ones = np.array([[True, False], [True, True]])
    p = Parameters(np.eye(2), np.ones(2))
    rec = recovery_of(Regression("relu", 2), p, determined=open_ones, feature_names=["age", "income"])
    head, rows = rows_of(rec.summary())
    assert head.split() == ["feature", "estimate"]
    assert rows["weights[0, 1]"] == ["income", "0", "not determined"] and rows["weights[1, 1]"] == ["income", "1"]
    assert not any("output_weights" in name for name in rows)  # which were given


class Page(HTMLParser):
    """Text, tags and attributes; elements must close as they open."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page(html):
    found = Page()
    found.feed(html)
    found.close()
    assert not found.open
    return found


@pytest.mark.parametrize("name", STRINGS)
@given(data=st.data())
@settings(max_examples=5, deadline=None, derandomize=True)
def test_notebooks_are_shown_the_same_as_text(name, data):
    rec = data.draw(recoveries(name))
    shown = page(rec._repr_html_())
    words = " ".join(shown.text[1:]).split()  # after the style
    assert sorted(words) == sorted(rec.summary().split())


def test_notebooks_show_no_more_than_can_be_read():
    rng = np.random.default_rng(0)
    model = Regression("relu", 400, "free", True, True, True).changed(n_outputs=10)
    w, v, b = rng.standard_normal((400, 300)), rng.standard_normal((10, 400)), rng.standard_normal((10, 300))
    html = recovery_of(model, Parameters(w, v, b, np.ones(10), biases=np.ones(400)))._repr_html_()
    assert len(html) < 20_000 and sum(tag == "tr" for tag, _ in page(html).tags) < 60


def test_notebooks_are_given_no_foreign_markup(fitted):
    names = ["<script>alert(1)</script>", "a&b", '"', "<b>"]
    rec = recovery_of(
        Regression("tanh", 1), Parameters(np.ones((1, 4)), np.ones(1)), feature_names=names,
        message="<img src=x onerror=alert(1)>", converged=False,
    )  # fmt: skip
    shown = page(rec._repr_html_())
    assert {tag for tag, _ in shown.tags} <= {"style", "div", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert all(set(attributes) <= {"class"} for _, attributes in shown.tags)
    assert all(name in shown.text for name in names)
    text = "".join(shown.text)
    assert "not converged, loss" in text and "<img" in text and "not converged" not in fitted._repr_html_()
    assert "http" not in rec._repr_html_() and "url(" not in rec._repr_html_()


def test_a_printed_recovery_is_one_line(fitted):
    assert str(fitted) == repr(fitted) and "\n" not in str(fitted) and len(str(fitted)) < 120
