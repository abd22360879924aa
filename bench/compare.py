"""Command line: ``python -m bench.compare [BASE [HEAD]]``, which asks whether HEAD's kernels became slower than BASE's.

Times of two days do not compare, so a number that was kept proves nothing: both revisions are built and timed in turn,
here and now.  What is kept of it is one line of ratios, which do compare.
"""

from __future__ import annotations

import argparse
import json
import random
import runpy
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # called as a file: python bench/compare.py
    sys.path[0] = str(Path(__file__).parents[1])
    runpy.run_module("bench.compare", run_name="__main__")  # which ends the process

from . import report
from .harness import Calls, Context, Row, Times, alternate, processor
from .intervals import CONFIDENCE, FEWEST, LIMIT, Judged, judged
from .kernel_cases import cases
from .probes import Measured
from .revisions import Revision, RevisionError, as_it_is, built, check_repository, origin_of, resolve
from .worker import ROOT, Worker, WorkerError

SIDES = BASE, HEAD = ("base", "head")
OK, SLOWER, USAGE, INTERRUPTED = 0, 1, 2, 130
_PAIRS = 3  # where arrays lie moves a time too, for as long as a process lives
_ROUNDS = 30

Open = Callable[[str], AbstractContextManager[Any]]  # a worker for "base" or "head"


def main(argv: list[str] | None = None) -> int:
    """Compare, print and keep.

    Returns
    -------
    int
        0: no case is slower for certain; 1: one is, or only BASE can run it; 2: bad usage, no such revision, a build or
        a process that failed; 130: interrupted.
    """
    options = _options(argv)
    context = Context(options.threads, options.quick)
    try:
        check_repository(ROOT)
        head = as_it_is(ROOT) if options.head is None else resolve(ROOT, options.head)
        base = origin_of(ROOT, head) if options.base is None else resolve(ROOT, options.base)
        with built(ROOT, {BASE: base, HEAD: head}, context.say) as trees:
            opened = partial(_opened, trees, context)
            times, broken = measure(opened, options.cases, options.rounds, context)
        verdicts = {case: judged(ratios(found)) for case, found in times.items()}
        print(f"base: {base}\nhead: {head}\n")
        if verdicts:
            print(report.table([row(case, times[case], found) for case, found in verdicts.items()]), end="\n\n")
            keep(options.out, entry(base, head, context, verdicts))
        print("\n".join(conclusions(verdicts, broken)))
    except KeyboardInterrupt:
        print("\ncompare: interrupted, nothing was kept", file=sys.stderr)
        return INTERRUPTED
    except (RevisionError, WorkerError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return USAGE
    return status(verdicts, broken)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("compare", description="Time the kernels of two revisions in turn.")
    parser.add_argument("base", nargs="?", help="default: where the work left main, or the parent of HEAD on main")
    parser.add_argument("head", nargs="?", help="default: this folder as it is, changes included")
    parser.add_argument("--threads", type=int, default=1, help="of each call (default: 1)")
    parser.add_argument("--rounds", type=int, help=f"how often both are timed (default: {_ROUNDS})")
    parser.add_argument("--cases", nargs="+", metavar="TEXT", help="only cases that have all of these in their names")
    parser.add_argument("--quick", action="store_true", help="small: shows that everything runs, measures nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of history.jsonl")
    options = parser.parse_args(argv)
    if options.rounds is None:
        options.rounds = FEWEST if options.quick else _ROUNDS
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    if options.rounds < FEWEST:
        parser.error(f"--rounds must be at least {FEWEST}: fewer have no {CONFIDENCE:.0%} interval")
    names, wanted = list(cases(options.threads)), options.cases or []
    options.cases = [name for name in names if all(word in name for word in wanted)]
    if not options.cases:
        parser.error("no case has {} in its name (there are: {})".format(" and ".join(wanted), "; ".join(names)))
    return options


def _opened(trees: dict[str, Path], context: Context, side: str) -> Worker:
    return Worker(side, trees[side], context.threads, context.quick)


def measure(
    opened: Open, names: Sequence[str], rounds: int, context: Context, seed: int = 0
) -> tuple[dict[str, Times], dict[str, str]]:
    """Seconds of each case, round by round, and the error of each that only the base can run.

    Rounds are shared out to three pairs of processes one after another, and each draws which side begins.  What the
    base cannot run is named by the context and left out.
    """
    times: dict[str, Times] = {name: {side: [] for side in SIDES} for name in names}
    broken: dict[str, str] = {}
    order, left = random.Random(seed), rounds
    pairs = 1 if context.quick else _PAIRS
    for pair in range(pairs):
        part = -(-left // (pairs - pair))
        left -= part
        with ExitStack() as stack:
            workers = {side: stack.enter_context(opened(side)) for side in SIDES}
            for done, name in enumerate(list(times), start=1):
                _progress(f"processes {pair + 1} of {pairs}, case {done} of {len(names)}: {name}")
                errors = {side: worker.ask("make", name).get("error") for side, worker in workers.items()}
                if any(errors.values()):
                    del times[name]
                    _progress("")
                    if errors[BASE]:
                        context.leave_out(name, f"{BASE}: {errors[BASE]}")
                    else:
                        broken[name] = str(errors[HEAD])
                    continue
                calls: Calls = {side: partial(_seconds, worker) for side, worker in workers.items()}
                for side, found in alternate(calls, part, lead=0, order=order).items():
                    times[name][side] += found
            _progress("")
    return times, broken


def _seconds(worker: Any) -> Measured:
    found = worker.ask("time")
    if "error" in found:
        raise WorkerError(f"a call of {worker.name} failed: {found['error']}")
    return Measured(found["seconds"])


def _progress(text: str) -> None:
    """One line on a terminal that the next one overwrites; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def ratios(times: Times) -> list[float]:
    """Time of the head over that of the base, round by round."""
    return [head / base for base, head in zip(times[BASE], times[HEAD], strict=True)]


def row(case: str, times: Times, found: Judged) -> Row:
    """A line of the table: median milliseconds of both, ratio, interval, verdict."""
    line: Row = {"case": case} | {f"{side} ms": 1e3 * statistics.median(times[side]) for side in SIDES}
    line |= {"head / base": f"{found.ratio:.3f}", f"{CONFIDENCE:.0%} interval": f"{found.low:.3f} to {found.high:.3f}"}
    return line | {"verdict": found.verdict}


def conclusions(verdicts: dict[str, Judged], broken: dict[str, str]) -> list[str]:
    """What follows, in lines: cases that are slower, not decided or broken."""
    much = f"slower by more than {LIMIT - 1:.0%}"
    lines = [f"{much}: {case}" for case, found in verdicts.items() if found.verdict == "slower"]
    lines += [f"head cannot run {case}: {error}" for case, error in broken.items()]
    if open_ones := [case for case, found in verdicts.items() if found.verdict == "not decided"]:
        lines.append(f"not decided (more --rounds may tell): {'; '.join(open_ones)}")
    if not verdicts:
        lines.append("no case could be compared")
    return lines or [f"no case is {much}"]


def status(verdicts: dict[str, Judged], broken: dict[str, str]) -> int:
    """1 where a case is slower for certain or runs no more, 2 where none could be compared, else 0."""
    if broken or any(found.verdict == "slower" for found in verdicts.values()):
        return SLOWER
    return OK if verdicts else USAGE


def entry(base: Revision, head: Revision, context: Context, verdicts: dict[str, Judged]) -> Row:
    """What is kept of a comparison; a folder's changes are known by nobody else, so that they were is kept too."""
    found: Row = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "processor": processor()}
    found |= {"base": base.commit, "head": head.commit, "changes": head.changed}
    found |= {"threads": context.threads, "quick": context.quick}
    ends = {case: [round(end, 4) for end in (one.ratio, one.low, one.high)] for case, one in verdicts.items()}
    return found | {"ratios": ends}


def keep(folder: Path, found: Row) -> None:
    """Add a line to the history."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "history.jsonl", "a") as history:
        print(json.dumps(found), file=history)


if __name__ == "__main__":
    sys.exit(main())
