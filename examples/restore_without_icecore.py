"""Reads an archive of icecore without icecore: by docs/format.md, with Python's standard library and fastavro.

    python3 restore_without_icecore.py ARCHIVE [--to DIRECTORY] [--collection NAME]... [--skip-record-checksums]

ARCHIVE is a copy of the archive's prefix in a local directory, such as `aws s3 sync s3://bucket/prefix ARCHIVE` makes. Checked are:
the manifests (each line, the digest at the end of each, that each stands behind the one it names), contiguity of each collection, length and SHA-256 of
each object, the digest over its records, and the checksum of each record. With --to, the records of each collection are written to
DIRECTORY/{folder of the collection}.ndjson, in order: bytes as base64, times in microseconds. Prints what was seen as one JSON object, and each finding
on a line of its own to standard error; ends with 1 where there is any.

Needs `fastavro`, and before Python 3.14 `backports.zstd` or `zstandard` for segments that are compressed with it. It is in the public domain: copy it, change it.
"""

import argparse
import base64
import bisect
import hashlib
import json
import os
import re
import struct
import sys

import fastavro
import fastavro.read

# Times stay numbers: not every 64-bit number of microseconds is a date that Python knows.
fastavro.read.LOGICAL_READERS.clear()

PUT, DELETE, SEAL = 0, 1, 21
KINDS = {PUT: "put", DELETE: "delete"}
ENTRIES = ("segment", "removed", "collection", "loss", "loss_gone", "snapshot", "remote")

findings = []


def finding(what):
    findings.append(what)
    print(what, file=sys.stderr)


class Bad(Exception):
    """The archive is not what docs/format.md says."""


def need(holds, what):
    if not holds:
        raise Bad(what)


# --- checksums


def _crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    return table


_CRC = _crc_table()


def crc32c(data, crc=0xFFFFFFFF):
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def long(n):
    n = (n << 1) ^ (n >> 63)
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def prefixed(data):
    return long(len(data)) + data


def optional(value, encode):
    return b"\x00" if value is None else b"\x02" + encode(value)


def encode_record(record):
    """A record's bytes before and behind its checksum: writers have one form for each."""
    before = long(record["sequence"]) + long(record["timestamp"]) + long(record["kind"])
    before += optional(record["key"], prefixed) + optional(record["expires_at"], long)
    if record["headers"]:
        before += long(len(record["headers"]))
        for header in record["headers"]:
            before += prefixed(header["key"].encode()) + prefixed(header["value"])
    before += b"\x00"
    return before, optional(record["payload"], prefixed)


# --- manifests


def read_manifest(path, number):
    with open(path, "rb") as file:
        data = file.read()
    lines = data.split(b"\n")
    need(len(lines) >= 3 and lines[-1] == b"", f"manifest {number}: it ends within a line")
    body = b"".join(line + b"\n" for line in lines[:-2])
    digest = hashlib.sha256(body).hexdigest()
    end = f'{{"end":{{"lines":{len(lines) - 2},"sha256":"{digest}"}}}}'
    need(lines[-2] == end.encode(), f"manifest {number}: its bytes are not those that its end tells")
    head, entries = json.loads(lines[0]), [json.loads(line) for line in lines[1:-2]]
    need(head["format"] == 1, f"manifest {number}: unknown format {head['format']}")
    need(head["number"] == number, f"manifest {number}: it is number {head['number']}")
    for entry in entries:
        need(len(entry) == 1 and next(iter(entry)) in ENTRIES, f"manifest {number}: unknown entry {list(entry)}")
    if head["checkpoint"]:
        need(head["base"] == number and head["base_entries"] == len(entries), f"manifest {number}: another length")
    return head, entries, hashlib.sha256(data).hexdigest()


class State:
    """What the manifests say together."""

    def __init__(self):
        self.segments, self.collections, self.losses, self.snapshot, self.remotes = {}, {}, {}, None, {}
        self.ranges = {}

    def take(self, number, entry):
        kind, value = next(iter(entry.items()))
        if kind == "segment":
            place = (value["collection"], value["first"], value["generation"], value["last"])
            there = self.segments.get(place)
            if there is not None and there != value:
                finding(f"manifest {number}: another object for {place}: the first one counts")
                return
            if there is None and (other := self.overlapping(place)):
                finding(f"manifest {number}: {place} shares sequences with {other}: the first one counts")
                return
            self.segments[place] = value
        elif kind == "removed":
            place = (value["collection"], value["first"], value["generation"], value["last"])
            if place in self.segments and self.segments[place]["key"] == value["key"]:
                del self.segments[place]
                self.ranges[(place[0], place[2])].remove((place[1], place[3]))
        elif kind == "collection":
            before = self.collections.get(value["name"], value)
            for field in ("floor", "sealed_through"):
                value[field] = max(value[field], before[field])
            self.collections[value["name"]] = value
        elif kind == "loss":
            self.losses[(value["collection"], value["first"], value["last"])] = value
        elif kind == "loss_gone":
            self.losses.pop((value["collection"], value["first"], value["last"]), None)
        elif kind == "snapshot":
            self.snapshot = value
        elif kind == "remote":
            if value["gone"]:
                self.remotes.pop(value["directory"], None)
            else:
                self.remotes[value["directory"]] = value["url"]

    def overlapping(self, place):
        """A segment of the same generation that shares a sequence. Those that are there do not share any."""
        collection, first, generation, last = place
        known = self.ranges.setdefault((collection, generation), [])
        at = bisect.bisect_left(known, (first, last))
        for other in known[max(0, at - 1) : at + 1]:
            if other[0] <= last and first <= other[1]:
                return other
        known.insert(at, (first, last))
        return None

    def told(self):
        return (self.segments, self.collections, self.losses, self.snapshot, self.remotes)


def read_manifests(archive):
    folder = os.path.join(archive, "_manifest")
    names = sorted(name for name in os.listdir(folder) if re.fullmatch(r"[0-9]{20}", name))
    need(names, "there is no manifest")
    state, before, digest = State(), None, None
    # The newest one tells where the chain begins. What stands before that counts no more.
    newest, _, _ = read_manifest(os.path.join(folder, names[-1]), int(names[-1]))
    begins = newest.get("begins", 1)
    names = [name for name in names if int(name) >= begins]
    for number, name in enumerate(names, begins):
        need(int(name) == number, f"manifest {number} is missing")
        head, entries, own_digest = read_manifest(os.path.join(folder, name), number)
        need(head["previous"] == digest, f"manifest {number}: the one before it is not the one that it names")
        need(head.get("begins", 1) == begins, f"manifest {number}: its chain begins with another")
        if before is None:
            need(head["checkpoint"], "the first manifest is no checkpoint")
        else:
            need(head["log"] == before["log"], f"manifest {number} is of another log")
            rises = head["epoch"] > before["epoch"]
            same = head["epoch"] == before["epoch"] and head["writer"] == before["writer"]
            need(rises or same, f"manifest {number}: its epoch is not above that of another writer")
        if head["checkpoint"] and before is not None:
            told = State()
            for entry in entries:
                told.take(number, entry)
            if told.told() != state.told():
                finding(f"manifest {number}: a checkpoint that is not what the manifests before it tell")
        else:
            for entry in entries:
                state.take(number, entry)
        before, digest = head, own_digest
    return state, before, len(names)


# --- segments


def read_segment(path, entry, check_records):
    """The records of an archived segment, each checked; its SEAL record is not given."""
    with open(path, "rb") as file:
        data = file.read()
    need(len(data) == entry["bytes"], f"{entry['key']}: {len(data)} bytes, {entry['bytes']} expected")
    need(hashlib.sha256(data).hexdigest() == entry["sha256"], f"{entry['key']}: another SHA-256")
    content, count, last = hashlib.sha256(), 0, entry["first"] - 1
    seed = crc32c(prefixed(entry["collection"].encode()))
    with open(path, "rb") as file:
        reader = fastavro.reader(file)
        need(reader.metadata["icecore.collection"] == entry["collection"], f"{entry['key']}: of another collection")
        for record in reader:
            if record["kind"] == SEAL:
                continue
            sequence = record["sequence"]
            before, behind = encode_record(record)
            checksum = bytes(record["checksum"])
            if check_records:
                crc = crc32c(behind, crc32c(before, seed)) ^ 0xFFFFFFFF
                need(struct.pack("<I", crc) == checksum, f"{entry['key']}: record {sequence} is damaged")
            need(last < sequence <= entry["last"], f"{entry['key']}: record {sequence} has no place there")
            need(record["kind"] in KINDS, f"{entry['key']}: record {sequence} is of an unknown kind")
            content.update(before + checksum + behind)
            count, last = count + 1, sequence
            yield record
    need(count == entry["records"], f"{entry['key']}: {count} records, {entry['records']} expected")
    need(content.hexdigest() == entry["content_digest"], f"{entry['key']}: another digest over the records")


def check_contiguity(state):
    """Every sequence from the floor to the last archived one is covered, or on record as missing; the gaps that were acknowledged."""
    gaps = []
    by_collection = {}
    for collection, first, _, last in state.segments:
        by_collection.setdefault(collection, []).append((first, last))
    for (collection, first, last), loss in state.losses.items():
        if loss["acknowledged"] is None:
            finding(f"{collection} {first}..={last}: a loss that nobody acknowledged: {loss['reason']}")
        else:
            gaps.append([collection, first, last])
    for collection, ranges in by_collection.items():
        at = max(1, state.collections.get(collection, {"floor": 1})["floor"])
        end = max(last for _, last in ranges)
        ranges += [(first, last) for name, first, last in state.losses if name == collection]
        for first, last in sorted(ranges):
            if at < first and at <= end:
                finding(f"{collection} {at}..={first - 1}: in no segment, and no loss is on record")
            at = max(at, last + 1)
    return gaps


def base(data):
    return None if data is None else base64.b64encode(data).decode()


def plain(record):
    return {
        "sequence": record["sequence"],
        "timestamp": record["timestamp"],
        "kind": KINDS[record["kind"]],
        "key": base(record["key"]),
        "expires_at": record["expires_at"],
        "headers": [[header["key"], base(header["value"])] for header in record["headers"]],
        "payload": base(record["payload"]),
    }


def restore(archive, state, to, wanted, check_records):
    seen = {"segments": 0, "records": 0, "bytes": 0}
    places = sorted(place for place in state.segments if not wanted or place[0] in wanted)
    # A range that compaction rewrote counts in its highest generation.
    rewritten = [place for place in places if place[2] > 0]
    out, out_of = None, None
    for place in places:
        entry = state.segments[place]
        newer = [other for other in rewritten if other[0] == place[0] and other[2] > place[2]]
        if to and out_of != place[0]:
            if out:
                out.close()
            out_of = place[0]
            out = open(os.path.join(to, entry["key"].split("/")[0] + ".ndjson"), "w", encoding="utf-8")
        path = os.path.join(archive, *entry["key"].split("/"))
        try:
            need(os.path.exists(path), f"{entry['key']}: it is not there")
            for record in read_segment(path, entry, check_records):
                if any(other[1] <= record["sequence"] <= other[3] for other in newer):
                    continue
                seen["records"] += 1
                if out:
                    out.write(json.dumps(plain(record), separators=(",", ":")) + "\n")
            seen["segments"] += 1
            seen["bytes"] += entry["bytes"]
        except (Bad, ValueError, EOFError, struct.error) as error:
            finding(str(error) if isinstance(error, Bad) else f"{entry['key']}: {error}")
    if out:
        out.close()
    return seen


def main():
    parser = argparse.ArgumentParser(description="Reads an archive of icecore without icecore.")
    parser.add_argument("archive", help="a local copy of the archive's prefix")
    parser.add_argument("--to", help="a directory for the records")
    parser.add_argument("--collection", action="append", help="only this one; may be given several times")
    parser.add_argument("--skip-record-checksums", action="store_true", help="much faster; digests are checked all the same")
    args = parser.parse_args()
    if args.to:
        os.makedirs(args.to, exist_ok=True)
    try:
        state, head, manifests = read_manifests(args.archive)
    except (Bad, ValueError, KeyError, OSError) as error:
        finding(str(error))
        return 1
    gaps = check_contiguity(state)
    seen = restore(args.archive, state, args.to, args.collection, not args.skip_record_checksums)
    seen.update(log=head["log"], manifests=manifests, epoch=head["epoch"], gaps=gaps, findings=len(findings))
    seen["collections"] = sorted({place[0] for place in state.segments} | set(state.collections))
    print(json.dumps(seen))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
