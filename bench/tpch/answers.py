"""The 22 queries and their known answers at scale 1 and 0.1, from DuckDB's tpch extension."""

import datetime
import decimal
import re

TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]
# A table's name stands behind FROM, JOIN or a comma of FROM; `nation` is also a column of two queries' answers.
_IN_FROM = re.compile(r"(\bfrom\s+|\bjoin\s+|,\s*)(" + "|".join(TABLES) + r")\b(?!\s*\.)", re.IGNORECASE)


def queries(duckdb):
    rows = duckdb.execute("SELECT query FROM tpch_queries() ORDER BY query_nr").fetchall()
    return [text.strip().rstrip(";") for (text,) in rows]


def known(duckdb, scale):
    """Answer by query number, as lists of texts; none where the scale has no known answers."""
    rows = duckdb.execute("SELECT query_nr, answer FROM tpch_answers() WHERE scale_factor = ?", [scale]).fetchall()
    return {number: [line.split("|") for line in text.strip("\n").split("\n")[1:]] for number, text in rows}


def qualified(sql, schema):
    """The query over the tables of a schema."""
    return _IN_FROM.sub(lambda found: f"{found[1]}{schema}{found[2]}", sql)


def texts(table):
    """An Arrow table's rows as lists of texts."""
    return [[_text(value) for value in row] for row in zip(*(column.to_pylist() for column in table.columns))]


def _text(value):
    if value is None:
        return "NULL"
    if isinstance(value, datetime.datetime):
        return value.date().isoformat()
    return str(value)


def differ(got, wanted):
    """What is wrong with an answer; nothing where it is the same. Decimals may be cut after the sixth place."""
    if len(got) != len(wanted):
        return f"{len(got)} rows, not {len(wanted)}"
    # Rows that the query's order leaves equal may stand in any order.
    pairs = list(zip(got, wanted))
    if not all(_same_row(*pair) for pair in pairs):
        pairs = list(zip(sorted(got, key=_rough), sorted(wanted, key=_rough)))
    for row, (one, other) in enumerate(pairs):
        if not _same_row(one, other):
            return f"row {row}: {one}, not {other}"
    return None


def _same_row(got, wanted):
    return len(got) == len(wanted) and all(_same(*pair) for pair in zip(got, wanted))


def _same(got, wanted):
    if got.strip() == wanted.strip():
        return True
    got, wanted = _number(got), _number(wanted)
    return got is not None and wanted is not None and abs(got - wanted) <= 1e-6 + 1e-6 * abs(wanted)


def _rough(row):
    return [value if _number(value) is None else f"{_number(value):.1f}" for value in row]


def _number(text):
    try:
        return float(decimal.Decimal(text))
    except decimal.InvalidOperation:
        return None
