"""A process that holds one revision and times its calls when asked, and the other end of its pipe.

Two revisions of one package cannot be imported side by side, and rounds must still alternate between them: so each has
a process of its own, which does nothing but wait for a line while the other one works.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .harness import Row, alternate
from .kernel_cases import Call, cases

ROOT = Path(__file__).parents[1]
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerError(RuntimeError):
    """A process ended without an answer."""


class Worker:
    """The process of a tree with built kernels; used in a ``with`` block, at whose end it is killed.

    Parameters
    ----------
    name : str
        What messages call it.
    tree : Path
        Holds the package, and no folder ``bench``: cases are those of this file's own tree.
    threads : int
        Of each call.
    quick : bool
        Whether rows are few.
    """

    def __init__(self, name: str, tree: Path, threads: int, quick: bool) -> None:
        self.name = name
        path = [str(tree), str(ROOT), os.environ.get("PYTHONPATH", "")]
        # A process that Ctrl-C does not reach leaves it to this one to end both.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.worker", str(tree), str(threads), str(int(quick))],
            env=clean() | dict.fromkeys(_POOLS, str(threads)) | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, *request: str) -> Row:
        """The answer to a request; WorkerError where the process ended instead."""
        assert self._process.stdin and self._process.stdout
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._process.wait()
            raise WorkerError(f"the process of {self.name} ended with status {status} when asked: {' '.join(request)}")
        return json.loads(line)


def clean() -> dict[str, str]:
    """The environment without this package's switches, which would build or choose other kernels."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FASTRECOVER_")}


class Timer:
    """Makes one call at a time, and times it."""

    def __init__(self, makers: dict[str, Callable[[], Call]]) -> None:
        self._makers = makers
        self._call: Call | None = None

    def make(self, case: str) -> Row:
        """Forget the last call, make this one and call it once."""
        self._call = None
        self._call = self._makers[case]()
        self._call()
        return {}

    def time(self) -> Row:
        """Seconds of one call, after one that wakes threads and caches."""
        assert self._call is not None
        return {"seconds": alternate({"it": self._call}, 1, pause=0.0)["it"][0]}


def serve(timer: Any, requests: Iterable[str], answer: Callable[[str], Any]) -> None:
    """Answer lines ``[method, argument, ...]`` by what the timer's method returns, or its error in a line."""
    for line in requests:
        method, *arguments = json.loads(line)
        try:
            found = getattr(timer, method)(*arguments)
        except Exception as error:
            found = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        answer(json.dumps(found))


def main(tree: str, threads: str, quick: str) -> None:
    """Serve the standard streams; whatever else prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    import fastrecover as fr

    if not Path(fr.__file__).resolve().is_relative_to(Path(tree).resolve()):
        sys.exit(f"another fastrecover stands before that of {tree}: {fr.__file__}")
    fr.set_kernels("compiled")
    timer = Timer(cases(int(threads), bool(int(quick))))
    serve(timer, sys.stdin, lambda line: print(line, file=answers, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
