"""One set of defaults: what is not said means the same from Python, by name or object, and from the command line."""

from __future__ import annotations

import argparse
import inspect

import numpy as np
import pytest
from twins import TWINS

import fastrecover as fr
from fastrecover.activations import NAMES
from fastrecover.cli import fit as fit_command
from fastrecover.cli import main
from fastrecover.models import Regression, default_output_weights, get_model

#: Options of the command line and the arguments of fit, or of a model, that they stand for.
FIT = {
    "model": "model", "n_hidden": "n_hidden", "init": "init", "solver": "solver", "inputs": "inputs", "tol": "tol",
    "max_passes": "max_passes", "seed": "random_state", "jobs": "n_jobs", "verbose": "verbose",
}  # fmt: skip
MODEL = ("output_weights", "intercept", "linear_term", "slope", "n_patches", "activation")


def options() -> dict[str, object]:
    parser = argparse.ArgumentParser()
    fit_command.add_arguments(parser)
    return {action.dest: action.default for action in parser._actions if action.option_strings}


def test_the_command_line_has_no_defaults_of_its_own():
    defaults = options()
    arguments = inspect.signature(fr.fit).parameters
    for option, argument in FIT.items():
        assert argument in arguments
        # A command line can be repeated: its seed is 0 where none is given.
        assert defaults[option] in (None, arguments[argument].default) or option == "seed"
    assert all(defaults[option] is None for option in MODEL)
    assert set(arguments) - set(FIT.values()) >= {"X", "y", "sample_weight", "callback"}


@pytest.mark.parametrize("name, k", [("relu", 2), ("sigmoid", 1), ("quadratic", 2), (None, 2), ("fcn", 2)])
def test_a_file_is_fitted_like_arrays_where_nothing_is_said(name, k, tmp_path, monkeypatch, capsys):
    """Exact responses or many labels, since the seed is another one each time."""
    monkeypatch.chdir(tmp_path)
    both = {"output_weights": [1.0, -1.0]} if name == "relu" else {}
    teacher = fr.datasets.make_teacher(name or "relu", 4, k, norms=2.0, random_state=3, **both)
    X, y = teacher.sample(3000, random_state=4)
    np.savez("d.npz", X=X, y=y)
    words = [] if name is None else ["--model", name]
    code = main(["fit", "d.npz", "-k", str(k), *words, "-o", "rec.npz"])
    assert code == 0, capsys.readouterr().err
    mine, theirs = fr.load("rec.npz"), fr.fit(X, y, *([] if name is None else [name]), n_hidden=k)
    assert mine.model == theirs.model
    assert mine.error(theirs) < (1e-2 if name == "fcn" else 1e-6)
    if name == "relu":
        assert sorted(theirs.output_weights) == [-1.0, 1.0]


@pytest.mark.parametrize("name", NAMES)
def test_teachers_and_models_of_a_name_ask_for_the_same(name):
    assert fr.datasets.make_teacher(name, 6, 2).model == get_model(name, 2)
    assert fr.datasets.make_teacher(name, 6, 2, output_weights="signs").model == get_model(name, 2)


@pytest.mark.parametrize("name", ["relu", "sigmoid"])
def test_an_activation_object_has_the_defaults_of_its_name(name):
    mine = TWINS[name]
    expected = Regression(mine, 2, default_output_weights(name))
    assert get_model(mine, 2) == expected == fr.datasets.make_teacher(mine, 5, 2).model
    teacher = fr.datasets.make_teacher(name, 5, 1, norms=2.0, random_state=1)
    X, y = teacher.sample(1500, random_state=2)
    found = fr.fit(X, y, mine, 1, random_state=0)
    assert found.model == Regression(mine, 1, default_output_weights(name)) and found.error(teacher) < 1e-6
