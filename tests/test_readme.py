"""What the README shows must run as it stands there, and name only what exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import fastrecover as fr
from fastrecover.activations import NAMES
from fastrecover.cli import _joined, _parser
from fastrecover.models import NAMES as MODEL_NAMES
from fastrecover.papers import PRESETS
from fastrecover.plan import INITS, SOLVERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run(code: str) -> dict:
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_first_steps_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run(blocks("python")[0])
    assert "relu: 3 units" in capsys.readouterr().out
    assert fr.load("rec.npz").error(names["teacher"]) == names["rec"].error(names["teacher"])


def test_a_result_is_looked_at_and_handed_on(capsys):
    names = run(blocks("python")[1])  # with its assertions
    assert "90 % from" in capsys.readouterr().out and len(names["figure"].axes) > 5


def test_rows_beyond_memory_run():
    names = run(blocks("python")[2])  # with its assertions
    assert names["rec"].converged and names["source"].shape == (20_000, 20)


def parts() -> dict[str, str]:
    """The examples of the block of networks, by their first lines, each with what stands before all of them."""
    head, *others = re.split(r"\n\n(?=# )", blocks("python")[3])
    return {other.splitlines()[0]: f"{head}\n{other}" for other in others}


@pytest.mark.parametrize("title", parts())
def test_networks_with_more_than_weights_run(title):
    names = run(parts()[title])  # with its assertions
    assert names["rec"].converged


def test_every_loss_and_option_has_an_example():
    assert len(blocks("python")) == 5 and len(parts()) == 5
    for word in ("hidden_bias", 'loss="logistic"', 'loss="poisson"', "n_outputs", 'alpha="auto"', "class_weight"):
        assert any(word in code for code in parts().values()), word


def test_commands_parse():
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("fastrecover ")]
    assert {words[1] for words in commands} == {"fit", "info", "phase", "plan", "predict"}
    for _, *words in commands:
        assert _parser().parse_args(_joined(words)).command == words[0]


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\w+)", "".join(blocks("sh")), flags=re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_calls_in_the_text_run():
    X, y = fr.datasets.make_teacher("tanh", 12, 3, random_state=0).sample(3000, noise=0.1, random_state=1)
    teacher = fr.datasets.make_teacher("relu", 10, 10, output_weights="ones", random_state=0)
    labels = np.where(y + np.random.default_rng(0).standard_normal(3000) > 0, "yes", "no")
    calls = re.findall(r"`(fr\.fit\([^`]*\))`", README)
    assert len(calls) == 6
    for call in calls:
        call = call.removesuffix(")") + ", max_passes=5, random_state=0)"
        with pytest.warns(fr.ConvergenceWarning):
            rec = eval(call, {"fr": fr, "X": X, "y": y, "labels": labels, "teacher": teacher})
        assert (rec.classes is not None) == ("labels" in call)


def test_table_lists_what_exists():
    row = {line.split("|")[1].strip(): re.findall(r"`([\w.-]+)`", line) for line in README.splitlines() if "|" in line}
    assert row["regression"][:-2] == list(NAMES)
    assert set(row["starts"]) == set(INITS)
    assert set(row["solvers"]) == set(SOLVERS)
    assert row["presets"] == list(PRESETS)
    assert set(row["classification"]) == set(MODEL_NAMES) - set(NAMES)
    for name in (*row["parts"], *row["regression"][-2:]):
        assert callable(thing := attribute(name)) or thing.__name__ == name.replace("fr.", "fastrecover.")


def attribute(name: str):
    thing = fr
    for part in name.split(".")[1:]:
        thing = getattr(thing, part)
    return thing


def test_what_is_not_there_is_not_there():
    text = README.split("Not there yet:")[1].split("\n\n")[0]
    X, y = fr.datasets.make_teacher("relu", 4, 2).sample(100)
    assert "Dask" in text
    with pytest.raises(ValueError, match="n_hidden='auto'"):
        fr.fit(X, np.abs(y), "relu", "auto", loss="poisson")
    with pytest.raises(ValueError, match="n_hidden='auto'"):
        fr.fit(X, y, "relu", "auto", alpha=1.0)
    patches = fr.models.ConvRegression(2).with_output_weights("free")
    for model, options, message in (
        ("quadratic", {"output_weights": "free"}, "quadratic units have one output"),
        ("relu", {"loss": "poisson"}, "y must be one-dimensional"),
        (patches, {}, "a convolutional network has one output"),
    ):
        with pytest.raises(ValueError, match=message):
            fr.fit(X, np.c_[y, y] ** 2, model, 2 if isinstance(model, str) else None, **options)
    assert "dask" in text.lower() and not hasattr(fr, "dask")


def test_files_that_are_named_exist():
    for name in re.findall(r"`(\w+/[\w./]+)`", README):
        assert (ROOT / name).is_file(), name


def test_estimators_run():
    code = blocks("python")[-1]
    assert "OneHiddenLayerRegressor" in code
    run(code)
    page = (ROOT / "docs" / "scikit-learn.md").read_text(encoding="utf-8")
    assert "docs/scikit-learn.md" in README
    run(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0])
