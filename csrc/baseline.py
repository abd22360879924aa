"""Finds code beyond the baseline instruction set where no dispatch stands before it.

A library is built for any x86-64 processor, and its units for wider instruction sets are called through the tables that
dispatch.c hands out after asking the processor.  This reads the machine code of finished libraries and tells every
function outside those units with an instruction that a baseline processor lacks: ``python csrc/baseline.py LIBRARY``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from units import LIBRARY, UNITS, Unit

#: What came after SSE2: mnemonics, and registers that only wider instructions name.
_BEYOND = re.compile(
    r"^(v(?!err|erw|mcall|mrun)\w+|andn|bextr|bls(i|r|msk)|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|lzcnt|popcnt|movbe|crc32"
    r"|h(add|sub)p[sd]|addsubp[sd]|movddup|movs[hl]dup|lddqu|pshufb|ph(add|sub)\w+|pmaddubsw|pmulhrsw|psign[bwd]|pabs[bwd]"
    r"|palignr|p?blendv?\w+|dpp[sd]|pextr[bdq]|pinsr[bdq]|extractps|insertps|mpsadbw|phminposuw|pmulld|pmuldq|packusdw"
    r"|p(min|max)(sb|sd|uw|ud)|round[ps][sd]|ptest|pmov[sz]x\w+|pcmp(eq|gt)q|pcmp[ei]str[im]|movntdqa|k(mov|or|and)\w+)$"
)
_WIDE = re.compile(r"%[yz]mm\d")


def _read(*command: str) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def is_wide(unit: Unit) -> bool:
    """Whether a unit is compiled for more than the baseline."""
    return int(unit.macros.get("FR_LEVEL", 0)) > 0


def dispatched(library: Path) -> set[int]:
    """Addresses of the functions that belong to units for wider instruction sets.

    The symbols of each object file follow its name, in the order in which they were linked; those that units share, and
    which stand apart, end with their level.
    """
    order: dict[str, list[bool]] = {Path(unit.source).name: [] for unit in (*UNITS, *LIBRARY)}
    for unit in UNITS:
        order[Path(unit.source).name].append(is_wide(unit))
    found: set[int] = set()
    wide = False
    for line in _read("readelf", "--symbols", "--wide", str(library)):
        fields = line.split()
        if len(fields) < 8 or not fields[0].rstrip(":").isdigit():
            continue
        address, kind, name = int(fields[1], 16), fields[3], fields[7]
        if kind == "FILE":
            wide = bool(order.get(name)) and order[name].pop(0)
        elif kind == "FUNC" and (re.search(r"_v[34](\.|$)", name) or wide):
            found.add(address)
    return found


def functions(library: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Address, name and instructions of every function."""
    address, name = 0, ""
    body: list[str] = []
    for line in _read("objdump", "--disassemble", "--no-show-raw-insn", str(library)):
        head = re.match(r"([0-9a-f]+) <(.+)>:$", line)
        if head:
            if body:
                yield address, name, body
            address, name, body = int(head[1], 16), head[2], []
        elif "\t" in line:
            body.append(line.split("\t", 1)[1].strip())
    if body:
        yield address, name, body


def beyond(library: Path) -> list[str]:
    """One line for each function that runs without dispatch and needs more than the baseline."""
    allowed, found = dispatched(library), []
    for address, name, body in functions(library):
        wrong = [each for each in body if _BEYOND.match(each.split()[0]) or _WIDE.search(each)]
        if wrong and address not in allowed:
            found.append(f"{library.name}: {name} has {wrong[0]!r}")
    return found


def main(paths: list[str]) -> int:
    """Print what is wrong; 1 where something is."""
    lines = [line for path in paths for line in beyond(Path(path))]
    print("\n".join(lines) or f"nothing beyond the baseline outside dispatched functions in {len(paths)} libraries")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
