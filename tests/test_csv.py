"""Tables as people export them: the same numbers come back, or the file is refused with its line; no row is lost.

What is written here by hand is what spreadsheets, R, pandas and NumPy write in one country or another.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastrecover.cli.csv_file import from_csv

TABLE = np.random.default_rng(0).standard_normal((40, 4)).round(4)
FRAME = pd.DataFrame(TABLE, columns=["a", "b", "c", "y"])
LINES = [",".join(map(str, row)) for row in TABLE]
COMMAS = [";".join(str(value).replace(".", ",") for value in row) for row in TABLE]
WORDS = np.where(TABLE[:, 3] > 0, "hit", "miss")


def read(data: str | bytes, labelled: bool = False, **options):
    """What a file of these contents holds."""
    path = Path("table.csv")
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    keys = dict(x_key=None, y_key=None, weight_key=None) | options
    return from_csv(argparse.Namespace(data=path, command="fit", **keys), labelled)[:3]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def titled(lines: list[str], titles: str = "a,b,c,y") -> str:
    return "\n".join([titles, *lines]) + "\n"


WRITTEN = {
    "plain": "\n".join(LINES),
    "titles": titled(LINES),
    "mark and windows lines": titled(LINES).replace("\n", "\r\n").encode("utf-8-sig"),
    "old lines": titled(LINES).replace("\n", "\r"),
    "mark and no titles": "\n".join(LINES).encode("utf-8-sig"),
    "quoted titles": titled(LINES, '"a","b","c","y"'),
    "separators in titles": titled(LINES, '"length, mm","b; or c","c","y"'),
    "lines in titles": titled(LINES, '"length\nin mm",b,c,y'),
    "quotes in titles": titled(LINES, '"the ""a""",b,c,y'),
    "titles with digits": titled(LINES, "1st,2nd,x3,y"),
    "titles of any script": titled(LINES, "größe,年,c,y"),
    "quoted numbers": "\n".join(",".join(f'"{value}"' for value in row) for row in TABLE),
    "blanks around": titled([line.replace(",", " , ") for line in LINES], "a , b , c , y"),
    "blanks before quotes": titled([", ".join(f'"{value}"' for value in row) for row in TABLE]),
    "decimal commas": titled(COMMAS, "a;b;c;y"),
    "decimal commas, no titles": "\n".join(COMMAS),
    "decimal commas, tabs": titled([line.replace(";", "\t") for line in COMMAS], "a\tb\tc\ty"),
    "decimal commas in quotes": ",".join("abcy") + "\n" + "\n".join(f'"{c}"'.replace(";", '","') for c in COMMAS),
    "semicolons": titled([line.replace(",", ";") for line in LINES], "a;b;c;y"),
    "tabs": "\n".join(LINES).replace(",", "\t"),
    "blanks": titled([line.replace(",", " ") for line in LINES], "a b c y"),
    "columns of blanks": "\n".join("".join(f"{value:12.4f}" for value in row) + "  " for row in TABLE),
    "blank lines": "\n\n" + titled(["", *LINES[:3], "", "   ", *LINES[3:], ""]),
    "utf-16": titled(LINES).encode("utf-16"),
    "utf-32": titled(LINES, "größe,b,c,y").encode("utf-32"),
    "whole numbers at first": "\n".join(["1,2,3,4", "5,6,7,8"]),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_the_same_numbers_come_back(kind, capsys):
    X, y, w = read(WRITTEN[kind])
    expected = np.arange(1.0, 9.0).reshape(2, 4) if kind == "whole numbers at first" else TABLE
    np.testing.assert_array_equal(np.column_stack([X, y]), expected)
    assert w is None and X.flags.c_contiguous and capsys.readouterr() == ("", "")


def test_what_numpy_and_pandas_write_comes_back():
    exact = np.random.default_rng(1).standard_normal((20, 3)) * 10.0 ** np.arange(-150, 150, 100)
    for options in ({}, {"delimiter": ","}, {"delimiter": "\t", "fmt": "%.17e"}, {"delimiter": ",", "header": "a,b,y"}):
        np.savetxt("written", exact, **{"fmt": "%.17g", **options})
        np.testing.assert_array_equal(np.column_stack(read(Path("written").read_bytes())[:2]), exact)
    for options in ({"index": False}, {"index": False, "sep": ";", "decimal": ","}, {"index": False, "quoting": 1}):
        text = pd.DataFrame(exact, columns=["a", "b", "y"]).to_csv(**options)
        np.testing.assert_array_equal(np.column_stack(read(text)[:2]), exact)


@pytest.mark.parametrize(
    "text",
    [
        FRAME.to_csv(),
        FRAME.to_csv(sep=";", decimal=","),
        FRAME.to_csv(quoting=csv.QUOTE_ALL),
        FRAME.set_index(np.array([f"row {i}" for i in range(40)])).to_csv(),
        FRAME.set_index(pd.date_range("2020", periods=40)).to_csv(),
        pd.read_csv(io.StringIO(FRAME.to_csv())).to_csv(index=False),
        pd.read_csv(io.StringIO(FRAME.to_csv())).to_csv(),
    ],
)
def test_an_index_is_no_feature(text, capsys):
    X, y, _ = read(text)
    np.testing.assert_array_equal(np.column_stack([X, y]), TABLE)
    err = capsys.readouterr().err
    assert err.startswith("fastrecover fit: note: table.csv: the first ") and "no title" in err and err.count("\n") == 1


def test_columns_are_named_by_title_or_number():
    for key in ("b", "1", "-3"):
        X, y, w = read(titled(LINES), y_key=key, weight_key="y")
        np.testing.assert_array_equal(np.column_stack([X, y, w]), TABLE[:, [0, 2, 1, 3]])
    X, y, _ = read(FRAME.to_csv(), y_key="0")  # an index that is asked for
    np.testing.assert_array_equal(y, np.arange(40))
    np.testing.assert_array_equal(X, TABLE)


def test_several_columns_of_responses():
    for key in ("b,y", " b , y ", "1,3", "1,-1"):
        X, y, _ = read(titled(LINES), y_key=key)
        np.testing.assert_array_equal(X, TABLE[:, [0, 2]])
        np.testing.assert_array_equal(y, TABLE[:, [1, 3]])
    X, y, w = read("\n".join(COMMAS), y_key="3,0", weight_key="2", labelled=True)  # probabilities
    np.testing.assert_array_equal(np.column_stack([X, y, w]), TABLE[:, [1, 3, 0, 2]])
    X, y, _ = read(titled(LINES, '"a,b",b,c,"a"'), y_key="a,b")
    np.testing.assert_array_equal(y, TABLE[:, 0])


@pytest.mark.parametrize(
    "key, message",
    [
        ("b,x", "--y-key: no column 'x'"),
        ("b,", "--y-key: no column ''"),
        ("b,y,1", "--y-key: 'b,y,1' names column 1 twice"),
        ("a,b,c,y", "the file has no features"),
        ("b,c", "--y-key and --weight-key name the same column"),
    ],
)
def test_columns_of_responses_that_are_none(key, message):
    with pytest.raises(ValueError, match=f"^table.csv: {message}"):
        read(titled(LINES), y_key=key, weight_key="c" if key == "b,c" else None)


def test_a_slip_in_one_of_several_responses_is_refused():
    lines = [*LINES[:7], LINES[7].rpartition(",")[0] + ",miss", *LINES[8:]]
    for labelled in (False, True):
        with pytest.raises(ValueError, match=r"line 9, column 4 \(y\): 'miss' is no number"):
            read(titled(lines), y_key="b,y", labelled=labelled)


SLIPS = ["NA", "", "1.O", "1D3", "0x10", "True", "1_000", "1 000", "$5", "5%", "--1", "1.2.3", "−1", "1e", "#N/A", "?"]


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("title", [False, True])
@pytest.mark.parametrize("at", [0, 7, 150])
@pytest.mark.parametrize("column", [0, 2])
def test_a_slip_is_refused_with_its_place(slip, title, at, column):
    rows = [[str(value) for value in row] for row in np.tile(TABLE, (5, 1))]
    rows[at][column] = slip
    lines = [",".join(row) for row in rows]
    with pytest.raises(ValueError) as caught:
        read(titled(lines) if title else "\n".join(lines))
    place = f"^table.csv: line {at + 1 + title}, column {column + 1}{' (' + 'abcy'[column] + ')' if title else ''}: "
    assert str(caught.value).startswith(f"{place[1:]}{slip!r} is no number"), caught.value


REFUSED = {
    "no titles for some": (titled(LINES, "a,,c,y"), "line 1, column 2 has no title"),
    "separators at the ends": (titled([f"{line}," for line in LINES], "a,b,c,y,"), "line 1, column 5 has no title"),
    "separators at the ends, no titles": ("\n".join(f"{line}," for line in LINES), "line 1, column 5: '' is no number"),
    "separators at some ends": (titled([f"{line}," for line in LINES]), "line 2 has 5 fields, and line 1 has 4"),
    "titles twice": (titled(LINES, "a,b,a,y"), "line 1 has the title 'a' twice"),
    "row names of R": (titled([f"r{i},{line}" for i, line in enumerate(LINES)]), "line 2 has 5 fields"),
    "a comment": ("# units: mm\n" + titled(LINES), "line 2 has 4 fields, and line 1 has 1", "comments"),
    "a comment with separators": ("# x, y, z, mm\n" + titled(LINES), "line 2, column 1 (# x): 'a' is no number"),
    "a comment further down": (titled([*LINES[:5], "# pause", *LINES[5:]]), "line 7 has 1 fields"),
    "short line": (titled([*LINES[:5], "1,2,3", *LINES[5:]]), "line 7 has 3 fields, and line 1 has 4"),
    "long line": ("\n".join([*LINES * 5, "1,2,3,4,5"]), "line 201 has 5 fields, and line 1 has 4"),
    "latin-1": (titled(LINES, "größe,b,c,y").encode("latin-1"), "not a text file in UTF-8", "save it as UTF-8"),
    "utf-16 cut": (titled(LINES).encode("utf-16")[:-1], "not a text file"),
    "nul bytes": ("\n".join(LINES).encode("utf-16-le"), "not a text file in UTF-8"),
    "years as titles": (titled(LINES, "2019,2020,2021,2022"), "line 1 may be titles or a row (2019, 2020,"),
    "numbers of columns as titles": (pd.DataFrame(TABLE).to_csv(index=False), "line 1 may be titles or a row (0, 1,"),
    "numbers of columns over labels": (
        titled([f"{line},{int(i > 9)}" for i, line in enumerate(LINES)], "0,1,2,3,4"),
        "line 1 may be titles or a row",
    ),
    "numbers of columns over an index": (pd.DataFrame(TABLE).to_csv(), "line 1, column 1: '' is no number", "titles"),
    "nothing but gaps": ("\n".join(["NA,na,?,-", *LINES]), "line 1 may be titles or a row"),
    "gaps and a title": ("\n".join(["NA,NA,NA,y", *LINES]), "the title 'NA' twice"),
    "thousands": ("\n".join(['"1,234","2,345"'] * 3), "line 1 may be titles or a row (1,234,"),
    "thousands and semicolons": (
        "\n".join(["a;b"] + ["1,234;2,345"] * 3),
        "line 2, column 1 (a): '1,234' is no number",
    ),
    "points and commas": ("\n".join(["0,5;1,5"] * 3 + ["0.5;1,5"]), "line 4, column 1: '0.5' is no number"),
    "open quote": (titled([*LINES[:5], '"1,2,3,4', *LINES[5:]]), "line ", "unexpected end of data"),
    "text behind a quote": (titled([*LINES[:5], '"1"2,2,3,4']), "line 7", "expected after '\"'"),
    "only titles": ("a,b\n", "has no rows"),
    "nothing": ("", "has no rows"),
    "one column": ("1\n2\n", "has one column"),
    "only an index": (",y\n1,2\n", "no features"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_for_sure_is_refused(case):
    data, *parts = REFUSED[case]
    with pytest.raises(ValueError) as caught:
        read(data)
    message = str(caught.value)
    assert message.startswith("table.csv") and all(part in message for part in parts), message


def labels(fields, titles: str = "") -> str:
    rows = [",".join([*map(str, row[:3]), field]) for row, field in zip(TABLE, fields, strict=True)]
    return titles + "\n".join(rows)


@pytest.mark.parametrize("titles", ["", "a,b,c,y\n"])
def test_labels_are_text_or_numbers(titles):
    for fields, expected in (
        (WORDS, WORDS),
        ([f'"{word}, yes"' for word in WORDS], [f"{word}, yes" for word in WORDS]),
        (np.where(WORDS == "hit", "1", "-1"), np.where(WORDS == "hit", 1.0, -1.0)),
        (np.where(WORDS == "hit", "un_hit", "True"), np.where(WORDS == "hit", "un_hit", "True")),
    ):
        X, y, _ = read(labels(fields, titles), labelled=True)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(X, TABLE[:, :3])


@pytest.mark.parametrize("gap", ["", "NA", "NaN", "null", '""'])
def test_a_missing_label_is_refused_with_its_place(gap):
    fields = [*WORDS[:6], gap, *WORDS[7:]]
    for titles in ("", "a,b,c,y\n"):
        with pytest.raises(ValueError, match=f"^table.csv: line {7 + bool(titles)}, column 4.* is no label"):
            read(labels(fields, titles), labelled=True)


FIELDS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(["", "NA", "x", "1,5", '"', "#", "nan", "1_0", " 2 ", "a b", "'3'", "é", "2020-01-01"]),
    st.text(max_size=5),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.lists(FIELDS, min_size=1, max_size=4), max_size=6),
    separator=st.sampled_from(",;\t "),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_table_is_read_whole_or_refused(rows, separator, quoting):
    text = io.StringIO()
    csv.writer(text, delimiter=separator, quoting=quoting).writerows(rows)
    try:
        X, y, _ = read(text.getvalue().encode("utf-8", "surrogatepass"))
    except ValueError as error:
        assert str(error).startswith("table.csv")
        return
    filled = [row for row in rows if len(row) > 1 or row[0].strip()]
    assert len(X) == len(y)
    assert len(y) in (len(filled), len(filled) - 1)
    if len(y) < len(filled):
        assert not any(is_number(field) for field in filled[0])


def is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field
