"""Processes that run one function together and gather values through the one that started them."""

from __future__ import annotations

import multiprocessing
import warnings


class Together:
    """Some processes, started once and asked again and again.

    Parameters
    ----------
    count : int
    """

    def __init__(self, count):
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(count)]
        self.ends = [mine for mine, _ in pipes]
        self.processes = [
            context.Process(target=_serve, args=(i, end), daemon=True) for i, (_, end) in enumerate(pipes)
        ]
        for process in self.processes:
            process.start()

    def run(self, function, *args):
        """What ``function(gather, i, *args)`` returns in every process, or the error that it raised.

        A process that waits for one that has ended already is told so.
        """
        for end in self.ends:
            end.send((function, args))
        results = {}
        while len(results) < len(self.ends):
            said = {i: end.recv() for i, end in enumerate(self.ends) if i not in results}
            results |= {i: value for i, (what, value) in said.items() if what == "ended"}
            waiting = [i for i, (what, _) in said.items() if what == "gather"]
            everyone = [said[i][1] for i in waiting] if len(waiting) == len(self.ends) else None
            for i in waiting:
                self.ends[i].send(everyone)
        return [results[i] for i in range(len(self.ends))]

    def close(self):
        """End them."""
        for end, process in zip(self.ends, self.processes, strict=True):
            end.send(None)
            process.join(10)
            process.kill()


def _serve(i, end):
    def gather(value):
        end.send(("gather", value))
        everyone = end.recv()
        if everyone is None:
            raise RuntimeError("another process has ended")
        return everyone

    warnings.simplefilter("ignore")
    while (asked := end.recv()) is not None:
        function, args = asked
        try:
            result = function(gather, i, *args)
        except Exception as error:
            result = error
        end.send(("ended", result))
