"""Command line: ``python -m bench [case ...] [--quick] [--out DIR] [--threads N] [--resume]``.

Every case is a module with a generator ``run(context)`` of plain rows; they are written to the result file as
they come, so an interruption costs at most the row that was being measured.  A module may say how its rows are
printed (``shown``).  Sub-packages name their cases (``CASES``) and draw their own pictures (module ``pictures``).
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from pathlib import Path

from . import __path__, report
from .harness import Context, Results, cpu_count, packages

CASES = (
    "startup",
    "sweeps",
    "rowfunctions",
    "moments",
    "lagged",
    "recovery",
    "passes",
    "zoo",
    "scaling",
    "memory",
    *(case for package in packages(__path__) for case in getattr(package, "CASES", ())),
)


def main(argv: list[str] | None = None) -> int:
    """Run cases, print their tables, write JSON and pictures.

    Parameters
    ----------
    argv : list of str, optional

    Returns
    -------
    int
        0; 1 if a case failed or the results cannot be written; 130 after Ctrl-C (finished cases are kept).
    """
    options = _options(argv)
    context = Context(options.threads or cpu_count(), options.quick)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        results = Results(options.out, context.quick, context.threads)
    except (OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _probe(context, results)
    failed = []
    try:
        for case in options.cases:
            if not _case(case, results, context, options.resume):
                failed.append(case)
    except KeyboardInterrupt:
        print(f"interrupted: finished cases are in {results.path}", file=sys.stderr)
        return 130
    _draw(results, options.out)
    print(f"results: {results.path}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench", description="Time fastrecover beside its peers and the machine's limits.")
    parser.add_argument("cases", nargs="*", metavar="case", help=f"any of: {', '.join(CASES)} (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: shows that everything runs, measures nothing"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for JSON and PNG")
    parser.add_argument("--threads", type=int, help="threads for every candidate (default: all processors)")
    parser.add_argument("--resume", action="store_true", help="skip cases that the result file already holds")
    options = parser.parse_args(argv)
    for case in options.cases:
        if case not in CASES:
            parser.error(f"unknown case {case!r} (known: {', '.join(CASES)})")
    if options.threads is not None and options.threads < 1:
        parser.error("--threads must be at least 1")
    options.cases = options.cases or list(CASES)
    return options


def _probe(context: Context, results: Results) -> None:
    from .probes import Probes

    try:
        context.probes = Probes()
    except OSError as error:
        context.leave_out("roofline", str(error))
        return
    context.say("the machine's limits")
    results.data["environment"]["limits"] = context.probes.summary(context.threads, 64 if context.quick else 1024)
    for name, value in results.data["environment"]["limits"].items():
        print(f"{name}: {report.text(value)}")


def _case(case: str, results: Results, context: Context, resume: bool) -> bool:
    module = importlib.import_module(f".{case}", __package__)
    if resume and results.finished(case):
        context.say(f"{case}: taken from {results.path.name}")
        rows = results.data["cases"][case]["rows"]
    else:
        context.say(case)
        context.kept = results.rows(case) if resume else []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows = results.run(case, module.run(context), context)
        except Exception as error:
            print(f"{case}: {type(error).__name__}: {error}", file=sys.stderr)
            return False
    shown = getattr(module, "shown", report.plain)(rows)
    print(f"\n{case}\n{'=' * len(case)}\n{shown}\n", flush=True)
    return True


def _draw(results: Results, folder: Path) -> None:
    try:
        for path in report.pictures(results.data["cases"], folder, packages(__path__, "pictures")):
            print(f"picture: {path}")
    except ImportError as error:
        print(f"no pictures: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
