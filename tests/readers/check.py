"""Reads copies of a log's directory with three readers, and compares them with each other and with what was written.

    check.py COPY...

Each COPY is a directory with `data` (the copy) and `expected.json`: `acknowledged` (last acknowledged sequence of each
collection when the copy began) and `closed` (the log was closed before). Prints what was seen, as one JSON object; ends
with 1 and a line for each finding where something is wrong.
"""

import datetime
import json
import os
import sys

import avro.datafile
import avro.io
import avro.schema
import fastavro

import icecore_reader as ours

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMAS = {
    kind: fastavro.schema.load_schema(os.path.join(HERE, "..", "..", "schema", f"{name}.avsc"))
    for kind, name in ((ours.GROUP, "group"), (ours.OPEN, "open"), (ours.MARK, "mark"), (ours.SEAL, "seal"))
}
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)

# How many bytes are flipped in a file, to see that each is found.
FLIPS = 30

findings = []
seen = {"files": 0, "journals": 0, "cold": 0, "segments": 0, "stubs": 0, "torn": 0, "marks": 0, "records": 0, "flips": 0}
codecs = set()


def micros(value):
    return (value - EPOCH) // MICROSECOND if isinstance(value, datetime.datetime) else value


def plain(record):
    """A record of either foreign reader, as ours has it."""
    return (
        record["sequence"],
        micros(record["timestamp"]),
        record["kind"],
        record["key"],
        micros(record["expires_at"]),
        [(header["key"], header["value"]) for header in record["headers"]],
        bytes(record["checksum"]),
        record["payload"],
    )


def plain_ours(record):
    return (
        record.sequence,
        record.timestamp,
        record.kind,
        record.key,
        record.expires_at,
        record.headers,
        record.checksum,
        record.payload,
    )


def read_fastavro(path):
    with open(path, "rb") as file:
        for record in fastavro.reader(file):
            yield plain(record)


def read_avro(path):
    with open(path, "rb") as file, avro.datafile.DataFileReader(file, avro.io.DatumReader()) as reader:
        for record in reader:
            yield plain(record)


def compare(path, expected, is_torn):
    """Both foreign readers give `expected` (None stands for filler), and end there unless the file is torn."""
    for name, read in (("fastavro", read_fastavro), ("avro", read_avro)):
        at, ended = 0, None
        records = read(path)
        while True:
            try:
                record = next(records)
            except StopIteration:
                break
            except Exception as error:  # any error that a reader may have for a torn end
                ended = error
                break
            if at == len(expected):
                if not is_torn:
                    findings.append(f"{path}: {name} gives more than {at} records: {str(record)[:200]}")
                break
            if expected[at] is None:
                if record[2] != ours.PAD or record[0] != 0:
                    findings.append(f"{path}: {name}: no filler at record {at}")
            elif record != expected[at]:
                findings.append(f"{path}: {name}: record {at} differs: {str(record)[:200]} {str(expected[at])[:200]}")
                return
            at += 1
        if at < len(expected):
            findings.append(f"{path}: {name} stopped after {at} of {len(expected)} records: {ended!r}")
        elif ended is not None and not is_torn:
            findings.append(f"{path}: {name} fails behind the last record: {ended!r}")


def control_datum(path, record, datum=None):
    """The payload of a control record is a datum of its schema."""
    import io

    stream = io.BytesIO(record.payload if datum is None else datum)
    value = fastavro.schemaless_reader(stream, SCHEMAS[record.kind])
    if stream.read(1):
        findings.append(f"{path}: bytes behind the datum of a record of kind {record.kind}")
    return value


def check_journal(path, data, judged_end):
    journal = ours.read_journal(path, data, judged_end)
    expected = []
    for _, _, group in journal.walked:
        if group is None:
            expected.append(None)
            continue
        expected.append(plain_ours(group.head))
        head = control_datum(path, group.head)
        if (head["offset"], head["group"]) != (group.offset, group.number):
            findings.append(f"{path}: fastavro reads another GROUP: {head}")
        previous = group.previous_checksum
        before = [other for _, _, other in journal.walked if other is not None and other.number == group.number - 1]
        if before and before[0].checksum != previous:
            findings.append(f"{path}: group {group.number} names another group before it")
        # Control records stand alone, so the order of runs is that of the records.
        records = group.controls + [record for _, records in group.runs for record in records]
        expected.extend(plain_ours(record) for record in records)
        for record in group.controls:
            control_datum(path, record)
            seen["marks"] += record.kind == ours.MARK
    compare(path, expected, journal.torn_at is not None)
    for offset, reason in journal.damage:
        findings.append(f"{path}: damaged at {offset}: {reason}")
    seen["torn"] += journal.torn_at is not None
    return journal


def expected_record(collection, n):
    """What the writer gives the collection as record `n`: the same formulas stand in tests/readers.rs."""
    key = {0: None, 1: b""}.get(n % 5, f"key-{n % 97}".encode())
    kind = ours.DELETE if n % 7 == 0 and key is not None else ours.PUT
    payload = b"" if n % 11 == 0 else f"{collection}#{n}:{'abcdefghij' * (n % 30)}".encode()
    if kind == ours.DELETE:
        payload = None
    timestamp = 1_700_000_000_000_000 + n * 1000 - n % 4 * 5000
    expires_at = timestamp + 10**12 if n % 6 == 0 else None
    headers = [("source", b"web"), ("n", n.to_bytes(8, "little"))] if n % 3 == 0 else []
    return (n, timestamp, kind, key, expires_at, headers, payload)


def check_copy(copy):
    with open(os.path.join(copy, "expected.json"), encoding="utf-8") as file:
        told = json.load(file)
    root = os.path.join(copy, "data")
    journals, segments = {}, []
    folder = os.path.join(root, ".journal")
    for name in sorted(os.listdir(folder)):
        if ours.is_journal(name):
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                journals[path] = file.read()
        elif name.endswith(".avro"):
            findings.append(f"{folder}: {name} is no journal's name")
    # What later OPENs say of each file: the newest word counts.
    ends = {}
    for data in journals.values():
        for before in predecessors(data):
            ends[before["file_id"]] = before["end"]
    found = []
    for path, data in journals.items():
        file_id = data[4080:4096]
        journal = check_journal(path, data, ends.get(file_id))
        is_cold = os.path.basename(path).startswith("cold-")
        seen["cold" if is_cold else "journals"] += 1
        found.append(journal)
        if told["closed"] and (journal.torn_at is not None):
            findings.append(f"{path}: torn, and the log was closed")
    for entry in sorted(os.listdir(root)):
        if entry.startswith("."):
            continue
        for name in sorted(os.listdir(os.path.join(root, entry))):
            path = os.path.join(root, entry, name)
            segment = ours.read_file(path)
            footer = segment.footer
            if ours.directory_name(footer["collection"]) != entry:
                findings.append(f"{path}: the folder of `{footer['collection']}` is another")
            compare(path, [plain_ours(record) for record in segment.collection_records] + [plain_ours(segment.seal)], False)
            if control_datum(path, segment.seal, segment.seal.payload[:-48])["collection"] != footer["collection"]:
                findings.append(f"{path}: fastavro reads another footer")
            if segment.metadata["icecore.file"] == b"stub":
                seen["stubs"] += 1
            else:
                seen["segments"] += 1
                codecs.add(footer["codec"])
                segments.append(segment)
    seen["files"] += len(journals) + len(segments)
    records = {}
    for source in [*segments, *found]:
        for collection, record in source.records():
            raw = records.setdefault(collection, {}).setdefault(record.sequence, record.raw)
            if raw != record.raw:
                findings.append(f"{source.path}: `{collection}` {record.sequence} has other bytes elsewhere")
    for collection, acknowledged in told["acknowledged"].items():
        held = records.get(collection, {})
        if sorted(held) != list(range(1, len(held) + 1)):
            findings.append(f"{copy}: `{collection}` has holes: {sorted(set(range(1, max(held) + 1)) - set(held))[:20]}")
        if len(held) < acknowledged:
            findings.append(f"{copy}: `{collection}`: {acknowledged} acknowledged, {len(held)} there")
        if told["closed"] and len(held) != acknowledged:
            findings.append(f"{copy}: `{collection}`: {acknowledged} acknowledged, {len(held)} there after closing")
        for n, raw in held.items():
            record = ours.read_record(ours.Cursor(raw))
            fields = (record.sequence, record.timestamp, record.kind, record.key, record.expires_at, record.headers)
            if (*fields, record.payload) != expected_record(collection, n):
                findings.append(f"{copy}: `{collection}` {n} is not what was written: {record}")
        seen["records"] += len(held)
    for collection in set(records) - set(told["acknowledged"]):
        findings.append(f"{copy}: `{collection}` was never written")
    if told["closed"]:
        # A reader that finds nothing proves nothing: damage in bytes that count must be found.
        for segment in sorted(segments, key=lambda segment: segment.footer["bytes_before"])[:1]:
            end = segment.footer["blocks"][-1]
            end = end["offset"] + end["bytes"]
            flip(segment.path, range(0, end, end // FLIPS), lambda: ours.read_file(segment.path))
        for journal in [journal for journal in found if len(journal.groups) > 2][:1]:
            check_torn(copy, journal)
            # Not in filler, whose payload may be anything.
            last = journal.groups[-2].end
            places = [at for group in journal.groups[:-1] for at in range(group.offset, group.end)]
            flip(journal.path, places[:: len(places) // FLIPS], lambda: damaged(journal.path, last))


def predecessors(data):
    """What a hot journal's OPEN tells of earlier ones."""
    try:
        group = ours.read_group(data, ours.HEADER_BYTES, data[4080:4096])
    except ours.Bad:
        return []
    return [before for record in group.controls if record.kind == ours.OPEN for before in ours.read_open(record)["predecessors"]]


def check_torn(copy, journal):
    """A write that a kill cut short: the file ends inside a group, or goes on with what lay there before."""
    with open(journal.path, "rb") as file:
        data = file.read()
    group = journal.groups[-2]
    # Filler may lie before a MARK.
    end = journal.groups[-3].end
    # Without the marker: of a part of it, what lay there before may be the rest.
    for kept in (1, (group.end - group.offset) // 2, group.end - group.offset - 16):
        front = data[: group.offset + kept]
        for name, torn in (("cut", front), ("stale", front + b"\x5a" * 5000), ("zeros", front + bytes(5000))):
            path = os.path.join(copy, f"{name}-{kept}.avro")
            with open(path, "wb") as file:
                file.write(torn)
            found = check_journal(path, torn, None)
            if found.torn_at != group.offset or found.end != end:
                findings.append(f"{path}: torn at {found.torn_at}, {found.end} instead of {group.offset}, {end}")


def damaged(path, end):
    with open(path, "rb") as file:
        journal = ours.read_journal(path, file.read())
    if journal.damage or journal.torn_at is not None or journal.end < end:
        raise ours.Bad("found")


def flip(path, places, read):
    with open(path, "rb") as file:
        good = file.read()
    try:
        for at in places:
            with open(path, "wb") as file:
                file.write(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
            seen["flips"] += 1
            try:
                read()
            except (ours.Bad, ours.Refused, UnicodeDecodeError):
                continue
            findings.append(f"{path}: a flipped byte at {at} was not found")
    finally:
        with open(path, "wb") as file:
            file.write(good)


for copy in sys.argv[1:]:
    try:
        check_copy(copy)
    except (ours.Bad, ours.Refused, OSError) as error:
        findings.append(f"{copy}: {error!r}")
seen["codecs"] = sorted(codecs)
seen["versions"] = {"avro": avro.__version__, "fastavro": fastavro.__version__}
print(json.dumps(seen))
for finding in findings[:50]:
    print(finding, file=sys.stderr)
sys.exit(1 if findings else 0)
