"""Help that fits the terminal, and the models that there are to choose from.

Descriptions are written as paragraphs and examples; both are filled to the width at hand, examples so that they can be
pasted as they stand.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NoReturn

from ..activations import NAMES
from ..papers import PRESETS

#: What each activation is, in a few words.
_ACTIVATIONS = {
    "relu": "max(z, 0)",
    "leaky_relu": "z above 0, slope * z below",
    "squared_relu": "max(z, 0)^2",
    "abs": "|z|: phase retrieval from amplitudes",
    "sigmoid": "1 / (1 + exp(-z))",
    "tanh": "tanh z",
    "erf": "erf z",
    "softplus": "log(1 + exp(z))",
    "quadratic": "z^2: energy models, phase retrieval, covariance sketches",
}
_CLASSIFIERS = {
    "fcn": "two labels by the mean of sigmoid units",
    "cnn": "two labels by one sigmoid filter on --n-patches patches",
}


class Formatter(argparse.HelpFormatter):
    """Fills paragraphs and examples; of the usage only what is not optional is spelt out."""

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        words = [self._prog]
        words += ["[options]"] if any(action.option_strings for action in actions) else []
        for action in actions:
            if not action.option_strings:
                name = action.metavar or action.dest
                words.append({"?": f"[{name}]", "...": f"[{name} ...]"}.get(action.nargs, name))
        begin = "usage: " if prefix is None else prefix
        text = textwrap.fill(begin + " ".join(words), self._width, subsequent_indent=" " * len(begin))
        return f"{text}\n\n"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(self._filled(text, width))

    def _filled(self, text: str, width: int) -> Iterator[str]:
        for paragraph in re.split(r"\n\s*\n", text.strip()):
            title, *rest = paragraph.splitlines()
            if not rest or not all(line.startswith("  ") for line in rest):
                yield textwrap.fill(" ".join(paragraph.split()), width)
            else:
                yield title
                for example in re.sub(r"\n {4,}", " ", "\n".join(rest)).splitlines():
                    options: Any = dict(break_on_hyphens=False, break_long_words=False)
                    lines = textwrap.wrap(example.strip(), width - 8, **options)
                    yield "\n".join(("  " if i == 0 else "      ") + line for i, line in enumerate(lines)).replace(
                        "\n", " \\\n"
                    )
            yield ""


class Parser(argparse.ArgumentParser):
    """Reports bad usage in one line, in words of whoever types."""

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"invalid int value: (.*)", r"must be an integer, got \1", message)
        message = re.sub(r"invalid float value: (.*)", r"must be a number, got \1", message)
        self.exit(2, f"{self.prog}: error: {message} (see '{self.prog} --help')\n")


class ModelAction(argparse.Action):
    """Takes the name of a model; ``list`` shows those that there are, and ends.

    Parameters
    ----------
    only_activations : bool
        Whether others are refused.
    """

    def __init__(self, *args: Any, only_activations: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.only_activations = only_activations

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        names = [values] if isinstance(values, str) else values
        if "list" in names:
            print("\n".join(listed(self.only_activations)))
            parser.exit(0)
        if self.only_activations:
            for name in names:
                if name in _CLASSIFIERS or name in PRESETS:
                    kind = "a classification" if name in _CLASSIFIERS else "a published algorithm"
                    parser.error(f"{option} must name an activation ({', '.join(NAMES)}), got {kind}, {name!r}")
        setattr(namespace, self.dest, values)


def add_activation(parser: argparse.ArgumentParser) -> None:
    """The option ``--model`` of commands about planted networks of one activation."""
    parser.add_argument(
        "--model",
        default="relu",
        action=ModelAction,
        only_activations=True,
        metavar="NAME",
        help="activation of the planted networks (default relu); 'list' shows all and ends",
    )


def listed(only_activations: bool = False) -> Iterator[str]:
    """Lines that name all models."""
    groups = [("activations of the hidden units", {name: _ACTIVATIONS.get(name, "") for name in NAMES})]
    if not only_activations:
        groups.append(("classifications (the activations too, with --loss logistic)", _CLASSIFIERS))
        groups.append(("algorithms as published", {name: preset.reference for name, preset in PRESETS.items()}))
    for title, names in groups:
        yield f"{title}:"
        yield from (f"  {name:<12}  {said}".rstrip() for name, said in names.items())
