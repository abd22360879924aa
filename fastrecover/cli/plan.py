"""tell how many rows recovery takes, what error noise leaves, and how long a fit takes here

The answer is read off curves that were fitted to planted networks, for inputs that are independent and normal; a line
says whether such networks were among them.  Noise is in standard deviations of the noiseless responses.

Examples:
  fastrecover plan --model relu --features 50 --hidden 5
  fastrecover plan --model tanh --features 20 --hidden 3 --noise 0.5 --within 0.05
  fastrecover plan --model tanh --features 20 --hidden 3 --noise 0.5 --rows 400
"""

from __future__ import annotations

import argparse
import re
import warnings

from ..sample_size import required_rows
from .layout import add_activation

#: Arguments of the function, by what the options are called.
_OPTIONS = {"n_features": "--features", "n_hidden": "--hidden", "condition_number": "--condition"}
_OPTIONS |= {name: f"--{name}" for name in ("noise", "probability", "within", "rows")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``fastrecover plan``."""
    add = parser.add_argument
    add_activation(parser)
    add("--features", type=int, default=50, metavar="D", help="inputs (default 50)")
    add("--hidden", type=int, default=5, metavar="K", help="hidden units (default 5)")
    add(
        "--noise",
        type=float,
        default=0.0,
        help="standard deviation of the noise over that of the responses (default 0)",
    )
    add("--condition", type=float, default=2.0, metavar="C", help="condition number of the weights (default 2)")
    add("--probability", type=float, default=0.95, metavar="P", help="chance of recovery (default 0.95)")
    add("--within", type=float, metavar="E", help="largest relative error that is wanted, beside that chance")
    add("--rows", type=int, metavar="N", help="tell what to expect of so many rows instead")


def run(args: argparse.Namespace) -> int:
    """Print what :func:`fastrecover.required_rows` tells.

    Returns
    -------
    int
        0.

    Raises
    ------
    TypeError, ValueError
        Bad input, in the words of the options.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the last line says it
        try:
            plan = required_rows(
                args.model,
                args.features,
                args.hidden,
                noise=args.noise,
                condition_number=args.condition,
                probability=args.probability,
                within=args.within,
            )
            print(plan if args.rows is None else plan.at(args.rows))
        except (TypeError, ValueError) as error:
            raise type(error)(_in_options(str(error))) from None
    return 0


def _in_options(message: str) -> str:
    """Names of arguments at the beginning of a message as those of options."""
    return re.sub(r"^(\w+)( and (\w+))?", lambda found: " and ".join(map(_option, found[0].split(" and "))), message)


def _option(name: str) -> str:
    return _OPTIONS.get(name, name)
