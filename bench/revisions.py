"""Two revisions of this repository, each in a work tree with its kernels built.

Both are built anew, by the same Python and the same compiler in a temporary folder, so that nothing but their sources
can differ.  Nobody's work tree, index or branch is touched; the temporary ones are removed whatever happens.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .worker import clean

_MAIN = ("main", "origin/main")
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
_NOBODY = {f"GIT_{who}_{what}": "compare" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
_SAID = 15  # last lines of a build that failed


class RevisionError(Exception):
    """A revision does not exist or cannot be built."""


@dataclass(frozen=True)
class Revision:
    """A commit, what it was called, and whether it holds changes that nobody has committed."""

    name: str
    commit: str
    changed: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.commit[:10]})"


def check_repository(root: Path) -> None:
    """Raise RevisionError unless a folder is the top of a repository of git."""
    try:
        inside = _git(root, "rev-parse", "--show-prefix")
    except RevisionError:
        inside = "nothing"
    if inside:
        raise RevisionError(f"{root} is no repository of git, so there are no revisions to compare")


def resolve(root: Path, name: str) -> Revision:
    """The commit that a name stands for.

    Raises
    ------
    RevisionError
        No such revision.
    """
    try:
        return Revision(name, _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"))
    except RevisionError:
        raise RevisionError(f"there is no revision {name!r}") from None


def as_it_is(root: Path) -> Revision:
    """The folder with its changes: HEAD where there are none, else a commit that belongs to no branch.

    Files that git does not know yet count where they can matter: in `csrc` and `fastrecover`.
    """
    head = resolve(root, "HEAD")
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        _git(root, "read-tree", "HEAD", more=index)
        _git(root, "add", "--update", more=index)
        _git(root, "add", "--all", "--", "csrc", "fastrecover", more=index)
        tree = _git(root, "write-tree", more=index)
    if tree == _git(root, "rev-parse", "HEAD^{tree}"):
        return Revision("this folder", head.commit)
    commit = _git(root, "commit-tree", "-p", "HEAD", "-m", "A folder with its changes", tree, more=_NOBODY)
    return Revision("this folder with its changes", commit, changed=True)


def origin_of(root: Path, head: Revision) -> Revision:
    """What the work in `head` began from: where it left the main branch, or its parent if it is on it.

    Raises
    ------
    RevisionError
        It has no parent.
    """
    for main in _MAIN:
        try:
            found = _git(root, "merge-base", main, head.commit)
        except RevisionError:
            continue
        if found != head.commit:
            return Revision(f"where it left {main}", found)
    return Revision("its parent", resolve(root, f"{head.commit}^").commit)


@contextmanager
def built(root: Path, revisions: dict[str, Revision], say: Callable[[str], object]) -> Iterator[dict[str, Path]]:
    """Folders with the built package of each revision, under the keys given, and without its benchmarks.

    Raises
    ------
    RevisionError
        A build failed; the message holds the end of what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="fastrecover-compare-", ignore_cleanup_errors=True) as folder:
        trees = {key: Path(folder, key) for key in revisions}
        try:
            for key, revision in revisions.items():
                say(f"building {key}: {revision}")
                _git(root, "worktree", "add", "--quiet", "--detach", str(trees[key]), revision.commit)
                shutil.rmtree(trees[key] / "bench", ignore_errors=True)
                build(trees[key], f"{key}, {revision}")
            yield trees
        finally:
            for tree in filter(Path.exists, trees.values()):
                try:
                    _git(root, "worktree", "remove", "--force", "--force", str(tree))
                except RevisionError:  # cut off while it was made: the folder goes, and git forgets it by itself
                    continue


def build(tree: Path, name: str) -> None:
    """Build the kernels of a tree in place, with this Python and what it has installed.

    Raises
    ------
    RevisionError
        The build failed.
    """
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=clean(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # compilers too
        process.wait()
        raise
    if process.returncode or not list(tree.glob("fastrecover/kernels/_compiled*")):
        said = "\n".join(printed.strip().splitlines()[-_SAID:])
        raise RevisionError(
            f"the build of {name} failed (it needs what the extra 'compare' brings: see `make compare`)\n{said}"
        )


def _git(root: Path, *arguments: str, more: dict[str, str] | None = None) -> str:
    """What git prints, without hooks, and without the variables that lead it elsewhere when it runs some itself."""
    env = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE} | (more or {})
    command = ["git", "-C", str(root), "-c", f"core.hooksPath={os.devnull}", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RevisionError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()
