"""What a type checker and ``dir`` tell a user of the package."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import pytest
from mypy import api

import fastrecover as fr

ROOT = Path(__file__).parents[1]
#: Lines of a user's program, and the kind of error in each, or the type that is revealed.
LINES = {
    'teacher = fr.datasets.make_teacher("relu", n_features=5, n_hidden=2, output_weights=[1.0, -1.0])': None,
    "X, y = teacher.sample(100, noise=0.1, dtype=np.float32)": None,
    'rec = fr.fit(X, y, model="relu", n_hidden=2, output_weights="signs", random_state=0)': None,
    'rec = fit(X, y, fr.models.Regression("tanh", 2, "free", fit_intercept=True), init=np.eye(2, 5))': None,
    "rec.error(teacher) + rec.error(rec.parameters) + fr.population_risk(rec, teacher)": None,
    'fr.load("a.npz").plot("a.png", teacher, shape=(1, 5))': None,
    "fr.Activation.from_functions(lambda z: z * z, lambda z: 2.0 * z, kinks=[0.0]).moments([1.0, 2.0])": None,
    "reveal_type(rec)": "fastrecover.recovery.Recovery",
    "reveal_type(fr.population_risk(rec, teacher))": "float",
    "reveal_type(rec.n_hidden)": "int",
    'reveal_type(fr.required_rows("relu", 5, 2, noise=0.1).at(100))': "fastrecover.sample_size.api.RequiredRows",
    "reveal_type(teacher.model.activation)": "fastrecover.activations.registry.Activation",
    'fr.fit(X, y, "relu", n_hiden=2)': "call-arg",
    'fr.fit(X, y, "relu", 2).wieghts': "attr-defined",
    'fr.datasets.make_teacher("relu", n_hiden=2)': "call-arg",
    'fr.models.get_model("relu", 2, fit_intercpt=True)': "call-arg",
    'fr.models.Regression("relu", "two")': "arg-type",
    "fr.population_risk(teacher, X)": "call-overload",
    "rec.predict(teacher)": "arg-type",
    "fr.fitt": "attr-defined",
    "teacher.model.n_hidden = 3": "misc",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory, request) -> dict[str, list[str]]:
    """What mypy says of each line."""
    cache = request.config.cache.mkdir("mypy")
    program = tmp_path_factory.mktemp("typing") / "program.py"
    head = ["import numpy as np", "import fastrecover as fr", "from fastrecover import fit"]
    program.write_text("\n".join([*head, *LINES]))
    before = os.environ.get("MYPYPATH")
    os.environ["MYPYPATH"] = str(ROOT)
    try:
        out, err, _ = api.run(
            [str(program), "--follow-imports=silent", "--ignore-missing-imports", "--config-file="]
            + [f"--cache-dir={cache}"]
        )
    finally:
        os.environ.pop("MYPYPATH") if before is None else os.environ.update(MYPYPATH=before)
    assert err == ""
    found: dict[str, list[str]] = {line: [] for line in LINES}
    for number, message in re.findall(r"^.*program\.py:(\d+): (.*)$", out, flags=re.MULTILINE):
        found[list(LINES)[int(number) - len(head) - 1]].append(message)
    return found


@pytest.mark.parametrize("line", LINES)
def test_what_a_type_checker_says(line, told):
    expected, messages = LINES[line], told[line]
    if expected is None:
        assert messages == []
    elif line.startswith("reveal_type"):
        assert len(messages) == 1 and re.search(rf'Revealed type is "([\w.]+\.)?{re.escape(expected)}"$', messages[0])
    else:
        assert [re.search(r"\[([a-z-]+)\]$", message)[1] for message in messages if "error:" in message] == [expected]


def test_dir_shows_public_names_only():
    assert set(dir(fr)) == {"ConvergenceWarning", *fr._WHERE, *fr._MODULES, "__version__"}
    assert dir(fr.datasets) == ["Teacher", "make_teacher"]
    for name in ("activations", "datasets", "models", "moments", "tensors"):
        module = getattr(fr, name)
        assert dir(module) == sorted(module.__all__)
        assert all(hasattr(module, each) for each in dir(module))
    for name in dir(fr):
        if name in ("torch", "jax") and importlib.util.find_spec(name) is None:
            with pytest.raises(ImportError, match=f"pip install {name}"):
                getattr(fr, name)
        else:
            assert getattr(fr, name) is not None


def test_a_star_imports_nothing_that_may_be_missing():
    names: dict[str, object] = {}
    exec("from fastrecover import *", names)
    assert "fit" in names and not {"torch", "jax", "OneHiddenLayerRegressor"} & set(names)
