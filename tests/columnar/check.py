"""Reads every Parquet file below a folder with four readers, and compares every value with what was written.

    check.py FOLDER EXPECTED.jsonl

Prints a JSON object with how many rows each reader saw; a finding ends it with exit code 1.
"""

import json
import struct
import sys
from collections import Counter
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.parquet

MICROS = 1_000_000


def micros(value):
    """Any reader's time as whole microseconds, without a detour by floats."""
    if value is None or value is pandas.NaT:
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, pandas.Timestamp):
        assert value.tz is not None and value.utcoffset().total_seconds() == 0, value
        # Nanoseconds, whatever unit it was read with.
        assert value.value % 1000 == 0, value
        return value.value // 1000
    assert value.tzinfo is not None, value
    delta = value - pandas.Timestamp(0, tz="UTC").to_pydatetime()
    return (delta.days * 86_400 + delta.seconds) * MICROS + delta.microseconds


def blob(value):
    return None if value is None else bytes(value).hex()


def bits(values):
    if values is None:
        return None
    return [struct.unpack("<I", struct.pack("<f", value))[0] for value in values]


def row(value):
    """A row of any reader in the one form that is compared."""
    headers = [[header["key"], blob(header["value"])] for header in value["headers"]]
    vector = value.get("vector")
    return {
        "key": blob(value["key"]),
        "sequence": int(value["sequence"]),
        "timestamp": micros(value["timestamp"]),
        "expires_at": micros(value["expires_at"]),
        "kind": value["kind"],
        "metadata": value["metadata"],
        "headers": headers,
        "vector": bits(vector),
        "payload": blob(value["payload"]),
    }


def with_pyarrow(path):
    table = pyarrow.parquet.ParquetFile(path).read()
    if "vector" in table.column_names:
        kind = table.schema.field("vector").type
        assert pyarrow.types.is_fixed_size_list(kind) and kind.list_size == 5, kind
    assert table.schema.field("timestamp").type == pyarrow.timestamp("us", tz="UTC")
    return table.to_pylist()


def with_pandas(path):
    frame = pandas.read_parquet(path, engine="pyarrow")
    return [
        {name: None if value is pandas.NaT else value for name, value in line.items()}
        for line in frame.to_dict("records")
    ]


def with_polars(path):
    return polars.read_parquet(path).to_dicts()


def with_duckdb(path):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    # The times as numbers: its Python times would need one more package.
    query = "SELECT * REPLACE (epoch_us(timestamp) AS timestamp, epoch_us(expires_at) AS expires_at) FROM read_parquet(?)"
    found = connection.execute(query, [str(path)])
    names = [column[0] for column in found.description]
    return [dict(zip(names, values)) for values in found.fetchall()]


READERS = {"pyarrow": with_pyarrow, "pandas": with_pandas, "polars": with_polars, "duckdb": with_duckdb}


def main():
    folder, wanted = Path(sys.argv[1]), Path(sys.argv[2])
    expected = {}
    for line in wanted.read_text().split("\n"):
        line = json.loads(line)
        expected.setdefault(line["collection"], []).append(line["row"])
    findings, counts = [], Counter()
    files = sorted(folder.glob("*/*.parquet"))
    for reader, read in READERS.items():
        found = {}
        for path in files:
            found.setdefault(path.parent.name, []).extend(row(value) for value in read(path))
        for collection, rows in expected.items():
            seen = found.get(collection, [])
            counts[reader] += len(seen)
            if len(seen) != len(rows):
                findings.append(f"{reader}: {collection} has {len(seen)} rows of {len(rows)}")
            for one, other in zip(seen, rows):
                if one != other:
                    findings.append(f"{reader}: {collection}: {one} is not {other}")
                    break
    # A condition by statistics and filters finds what is there, and nothing else.
    glob = str(folder / "large" / "*.parquet")
    for key in ["key-5", "nowhere"]:
        query = "SELECT count(*) FROM read_parquet(?) WHERE key = ?::BLOB AND sequence > 20000"
        count = duckdb.execute(query, [glob, key]).fetchone()[0]
        want = sum(1 for one in expected["large"] if one["key"] == key.encode().hex() and one["sequence"] > 20000)
        if count != want:
            findings.append(f"duckdb: {count} rows of {key}, not {want}")
    # What lies in the file's metadata, without any program of ours.
    told = pyarrow.parquet.read_metadata(files[0]).metadata
    for name in [b"icecore.log", b"icecore.collection", b"icecore.epoch", b"icecore.generation", b"icecore.checksums"]:
        if name not in told:
            findings.append(f"{files[0].name} does not say {name}")
    for finding in findings:
        print(finding)
    if findings:
        sys.exit(1)
    print(json.dumps({"files": len(files), "rows": counts}))


main()
