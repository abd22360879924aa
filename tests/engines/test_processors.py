"""How many threads there are by default, where a container is given a share of the time of its processors.

The files of the kernel are written here as it writes them, below a folder of the test's own.
"""

from __future__ import annotations

import math
import os

import pytest

from fastrecover.engines import processors


def written(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V1 = "12:pids:/job\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc"


@pytest.mark.parametrize(
    "expected, files",
    [
        (math.inf, {}),
        (math.inf, {"proc/self/cgroup": "0::/"}),
        (2.0, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"}),
        (math.inf, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}),
        (math.inf, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "what is this"}),
        (math.inf, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": ""}),
        # a group within a group, of which the narrower counts, whichever it is
        (
            0.5,
            {
                "proc/self/cgroup": "0::/a.slice/b.scope",
                "sys/fs/cgroup/a.slice/b.scope/cpu.max": "300000 100000",
                "sys/fs/cgroup/a.slice/cpu.max": "50000 100000",
            },
        ),
        (
            1.5,
            {
                "proc/self/cgroup": "0::/a.slice/b.scope",
                "sys/fs/cgroup/a.slice/b.scope/cpu.max": "150000 100000",
                "sys/fs/cgroup/a.slice/cpu.max": "max 100000",
            },
        ),
        # as the host names it, where only the top is to be seen
        (3.0, {"proc/self/cgroup": "0::/kubepods/pod1", "sys/fs/cgroup/cpu.max": "300000 100000"}),
        (
            2.5,
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
            },
        ),
        (
            4.0,
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000",
            },
        ),
        (
            math.inf,
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
        ),
        # another controller's files are none of ours
        (math.inf, {"proc/self/cgroup": "12:cpuset:/x", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "1000"}),
    ],
)
def test_quota(tmp_path, expected, files):
    assert processors.quota(written(tmp_path, files)) == expected


@pytest.mark.parametrize("share, expected", [(math.inf, 8), (0.1, 1), (1.0, 1), (1.01, 2), (3.5, 4), (100.0, 8)])
def test_default_number_of_threads(monkeypatch, share, expected):
    monkeypatch.setattr(processors, "_quota", lambda: share)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert processors.cpu_count() == processors.resolve_jobs(None) == processors.resolve_jobs(-1) == expected
    assert processors.resolve_jobs(6) == 6
