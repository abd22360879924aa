"""The command line: one parser, one place where errors become one line and an exit code.

Each command lives in a module of its own with ``add_arguments`` and ``run``, and returns its exit code; only
what a person can put right (bad usage, bad input, missing packages) is turned into a line, everything else is
a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any

from .. import __version__, kernels
from . import bench, demo, fit, info, phase, plan, predict
from .layout import Formatter, Parser

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_COMMANDS: dict[str, Any] = {
    "demo": demo,
    "fit": fit,
    "predict": predict,
    "phase": phase,
    "plan": plan,
    "info": info,
    "bench": bench,
}


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : list of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0: done; 1: a fit did not converge, or a planted network was not recovered; 2: bad usage or input;
        130: interrupted.
    """
    try:
        args = _parsed(_joined(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return _run(args)
    except KeyboardInterrupt:
        kept = getattr(args, "checkpoint", None)
        if kept is not None and kept.is_file():
            return _fail(args.command, f"interrupted: the same command goes on from {kept}", INTERRUPTED)
        return _fail(args.command, "interrupted, nothing was written", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone; without this the interpreter complains once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except MemoryError as error:
        return _fail(args.command, f"not enough memory. {error}", USAGE)
    except (ValueError, TypeError, OSError, ImportError) as error:
        return _fail(args.command, str(error), USAGE)


def _parsed(argv: list[str]) -> argparse.Namespace:
    args, rest = _parser().parse_known_args(argv)
    if args.command == "bench":
        args.arguments = rest + args.arguments
    elif rest:
        Parser(prog=f"fastrecover {args.command}").error(f"unknown arguments: {' '.join(rest)}")
    return args


def _run(args: argparse.Namespace) -> int:
    command, chosen = _COMMANDS[args.command], getattr(args, "kernels", None)
    if chosen is None:
        return command.run(args)
    before = kernels.get_kernels()
    kernels.set_kernels(chosen)
    try:
        return command.run(args)
    finally:
        kernels.set_kernels(before)


def _parser() -> argparse.ArgumentParser:
    about = "Recover the weights of one-hidden-layer networks."
    parser = Parser(prog="fastrecover", description=about, formatter_class=Formatter)
    parser.add_argument("--version", action="version", version=f"fastrecover {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, module in _COMMANDS.items():
        text = module.__doc__ or ""
        described: dict[str, Any] = dict(help=text.splitlines()[0], description=text, allow_abbrev=False)
        command = commands.add_parser(name, formatter_class=Formatter, **described)
        module.add_arguments(command)
    return parser


def _joined(argv: list[str]) -> list[str]:
    """``--test-rows -30000:`` as one word, since a value that begins with a dash reads like an option."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] in ("--train-rows", "--test-rows") and re.fullmatch(r"-\d*:-?\d*", word):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _fail(command: str, message: str, code: int) -> int:
    text = " ".join(message.split()) or "failed"
    print(f"fastrecover {command}: {'' if code == INTERRUPTED else 'error: '}{text}", file=sys.stderr)
    return code
