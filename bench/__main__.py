"""Command line: ``python -m bench [case ...] [--quick] [--out DIR] [--threads N] [--data DIR] [--gigabytes G]
[--resume]``.

A case is a module with a generator ``run(context)`` of plain rows, or a study of ``bench.studies``.  Rows are written
to the result file as they come, so an interruption costs at most the one that was being measured.  ``compare`` as the
first word hands the others on to :mod:`bench.compare`.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path

from . import compare, report, studies
from .harness import Context, Results
from .probes import Probes

MODULES = (
    "startup",
    "sweeps",
    "rowfunctions",
    "own",
    "moments",
    "recovery",
    "passes",
    "wide",
    "scaling",
    "workers",
    "cluster",
    "memory",
    "files",
    "kills",
    "costs",
    "modules",
    "estimators",
    "extraction",
    "published",
    "spikes",
    "tables",
)
CASES = (*MODULES, *studies.STUDIES)


def main(argv: list[str] | None = None) -> int:
    """Run cases, print, write JSON and pictures; 1 if a case failed or nothing can be written, 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["compare"]:
        return compare.main(argv[1:])
    options = _options(argv)
    context = Context(options.threads, options.quick, data=options.data, gigabytes=options.gigabytes)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        results = Results(options.out, context)
    except (OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    try:
        _probe(context, results)
        failed = [case for case in options.cases if not _case(case, results, context, options.resume)]
    except KeyboardInterrupt:
        print(f"interrupted: what was measured is in {results.path}", file=sys.stderr)
        return 130
    _draw(results, options.out)
    print(f"results: {results.path}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    from fastrecover.engines.processors import resolve_jobs

    parser = argparse.ArgumentParser("bench", description="Time fastrecover beside its peers and the machine's limits.")
    parser.add_argument("cases", nargs="*", metavar="case", help=f"any of: {', '.join(CASES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small: shows that everything runs, measures nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for JSON and PNG")
    every = resolve_jobs(None)
    parser.add_argument("--threads", type=int, default=every, help="of every candidate (default: all processors)")
    parser.add_argument("--data", type=Path, help="folder with the data files that some cases want")
    parser.add_argument("--gigabytes", type=float, default=8.0, help="that `files` writes to the disk (default 8)")
    parser.add_argument("--resume", action="store_true", help="measure only what the result file does not hold yet")
    options = parser.parse_args(argv)
    options.cases = options.cases or list(CASES)
    if unknown := [case for case in options.cases if case not in CASES]:
        parser.error(f"unknown case {unknown[0]!r} (known: {', '.join(CASES)})")
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    return options


def _probe(context: Context, results: Results) -> None:
    try:
        context.probes = Probes()
    except OSError as error:
        context.leave_out("roofline", error)
        return
    context.say("the machine's limits")
    limits = context.probes.summary(context.threads, 64 if context.quick else 1024)
    results.data["environment"]["limits"] = limits
    print("\n".join(f"{name}: {report.text(value)}" for name, value in limits.items()))


def _case(case: str, results: Results, context: Context, resume: bool) -> bool:
    context.say(case)
    rows, complete = results.rows(case)
    if resume and complete:
        context.say(f"taken from {results.path.name}")
    else:
        context.kept = rows if resume else []
        run = partial(studies.run, case) if case in studies.STUDIES else import_module(f".{case}", __package__).run
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows = results.run(case, run(context))
        except Exception as error:
            print(f"{case}: {type(error).__name__}: {error}", file=sys.stderr)
            return False
    print(f"\n{case}\n{'=' * len(case)}\n{report.plain(rows)}\n", flush=True)
    return True


def _draw(results: Results, folder: Path) -> None:
    from .pictures import draw

    try:
        for path in draw(results.data["cases"], folder):
            print(f"picture: {path}")
    except ImportError as error:
        print(f"no pictures: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
