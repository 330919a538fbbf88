"""Reads icecore's journals, cold journals, segments and stubs, and checks every checksum.

Written from docs/format.md and the schemas alone, with Python's standard library (zstandard data blocks need Python
3.14, or the package `zstandard`). It shares no code with icecore: where the two disagree, the page or one of them is wrong.

    python3 icecore_reader.py FILE...      prints what each file holds, as JSON
"""

import hashlib
import json
import os
import re
import struct
import sys
import zlib
from dataclasses import dataclass, field

HEADER_BYTES = 4096
PUT, DELETE, GROUP, PAD, OPEN, MARK, MOVE, SEAL = 0, 1, 16, 17, 18, 19, 20, 21
CONTROL = (GROUP, PAD, OPEN, MARK, MOVE, SEAL)


class Bad(Exception):
    """Bytes that are not what the format says."""


class Refused(Exception):
    """A newer format, or another kind of file."""


def need(holds, what):
    if not holds:
        raise Bad(what)


# --- checksums


def _table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    return table


_CRC = _table()


def crc32c(*parts):
    crc = 0xFFFFFFFF
    table = _CRC
    for part in parts:
        for byte in part:
            crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283

# --- Avro's primitives


def put_long(n):
    n = (n << 1) ^ (n >> 63)
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def put_string(text):
    encoded = text.encode()
    return put_long(len(encoded)) + encoded


class Cursor:
    def __init__(self, data, at=0, end=None):
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def take(self, n):
        need(0 <= n <= self.end - self.at, "the bytes end before the value does")
        self.at += n
        return self.data[self.at - n : self.at]

    def long(self):
        value = shift = 0
        while True:
            need(self.at < self.end and shift < 70, "a number that does not end")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                need(value < 1 << 64, "a number of more than 64 bits")
                return (value >> 1) ^ -(value & 1)

    def natural(self):
        n = self.long()
        need(n >= 0, "a negative number where none can be")
        return n

    def bytes(self):
        return bytes(self.take(self.natural()))

    def string(self):
        try:
            return self.bytes().decode()
        except UnicodeDecodeError as error:
            raise Bad("a string that is not UTF-8") from error

    def fixed(self, n):
        return bytes(self.take(n))

    def le32(self):
        return struct.unpack("<I", self.take(4))[0]

    def optional(self, read):
        index = self.long()
        need(index in (0, 1), "a union index that the schema does not have")
        return read() if index else None

    def array(self, read):
        items = []
        while (count := self.natural()) != 0:
            items.extend(read() for _ in range(count))
        return items

    def boolean(self):
        byte = self.take(1)[0]
        need(byte in (0, 1), "a boolean that is none")
        return byte == 1

    def range(self):
        return (self.natural(), self.natural())

    def done(self):
        need(self.at == self.end, "bytes behind the value")


@dataclass
class Record:
    sequence: int
    timestamp: int
    kind: int
    key: bytes | None
    expires_at: int | None
    headers: list
    checksum: bytes
    payload: bytes | None
    raw: bytes = field(repr=False)
    checksum_at: int = field(repr=False)

    def is_intact(self, collection):
        crc = crc32c(put_string(collection), self.raw[: self.checksum_at], self.raw[self.checksum_at + 4 :])
        return struct.pack("<I", crc) == self.checksum


def read_record(cursor):
    start = cursor.at
    sequence, timestamp, kind = cursor.natural(), cursor.long(), cursor.long()
    key, expires_at = cursor.optional(cursor.bytes), cursor.optional(cursor.long)
    headers = cursor.array(lambda: (cursor.string(), cursor.bytes()))
    checksum_at = cursor.at - start
    checksum = cursor.fixed(4)
    payload = cursor.optional(cursor.bytes)
    raw = bytes(cursor.data[start : cursor.at])
    return Record(sequence, timestamp, kind, key, expires_at, headers, checksum, payload, raw, checksum_at)


# --- file headers


def read_header(data):
    if data[:4] != b"Obj\x01":
        raise Bad("not an Avro container file")
    cursor = Cursor(data, 4)
    pairs = cursor.array(lambda: (cursor.string(), cursor.bytes()))
    marker = cursor.fixed(16)
    return dict(pairs), marker, cursor.at


def text(metadata, name):
    need(name in metadata, f"the header has no {name}")
    return metadata[name].decode()


def check_version(metadata):
    for name, known in (("format_version", "1"), ("features", "0"), ("encryption_key_id", "")):
        found = text(metadata, f"icecore.{name}")
        if found != known:
            raise Refused(f"icecore.{name}=`{found}`, known=`{known}`")


# --- journals


def read_journal_header(page):
    metadata, marker, length = read_header(page)
    digits = f"{crc32c(page[:4071], b'00000000', page[4079:4096]):08x}".encode()
    need(length == HEADER_BYTES and page[4071:4079] == digits, "the checksum of the header is wrong")
    check_version(metadata)
    need(text(metadata, "avro.codec") == "null", "a journal with a codec")
    need(text(metadata, "icecore.file") in ("journal", "cold"), "not a journal")
    return metadata, marker


@dataclass
class Group:
    offset: int
    end: int
    number: int
    durable_to: int
    previous_checksum: bytes
    checksum: bytes
    runs: list  # (collection, [Record])
    held_before: list  # (collection, first, count)
    controls: list  # Record
    head: Record = field(repr=False)
    epoch: int = 0
    journal: int = 0


def read_pad(data, at, file_id):
    """The span of the PAD block at `at`, or None."""
    cursor = Cursor(data, at)
    try:
        if cursor.long() != 1:
            return None
        size = cursor.natural()
        start = cursor.at
        if cursor.take(6) != b"\x00\x00\x22\x00\x00\x00":
            return None
        checksum = cursor.fixed(4)
        behind = cursor.at
        if cursor.long() != 1:
            return None
        n = cursor.natural()
    except Bad:
        return None
    crc = crc32c(b"\x00", file_id, b"\x00\x00\x22\x00\x00\x00", bytes(data[behind : cursor.at]))
    if struct.pack("<I", crc) != checksum or cursor.at + n != start + size:
        return None
    return start + size + 16 - at


def block_span(data, at):
    cursor = Cursor(data, at)
    count, size = cursor.natural(), cursor.natural()
    return count, cursor.at, cursor.at + size


def read_group(data, at, file_id):
    count, body, end = block_span(data, at)
    need(end + 16 <= len(data), "the block ends behind the file")
    need(data[end : end + 16] == file_id, "the block does not end in the marker")
    cursor = Cursor(data, body, end)
    head = read_record(cursor)
    need(head.kind == GROUP and head.is_intact(""), "the first record is no intact GROUP")
    need(head.payload is not None, "a GROUP without a payload")
    datum = Cursor(head.payload)
    found_id = datum.fixed(16)
    epoch, journal, number, offset, durable_to = (datum.natural() for _ in range(5))
    previous_checksum = datum.fixed(4)
    checksum_at = datum.at
    checksum = datum.fixed(4)
    holds = datum.array(lambda: (datum.string(), datum.natural(), datum.natural(), datum.natural(), datum.fixed(4)))
    held_before = datum.array(lambda: (datum.string(), datum.natural(), datum.natural()))
    datum.done()
    need(found_id == file_id and offset == at, "a GROUP of another file or place")
    zeroed = head.payload[:checksum_at] + bytes(4) + head.payload[checksum_at + 4 :]
    need(struct.pack("<I", crc32c(bytes(data[at:body]), zeroed)) == checksum, "the group's checksum is wrong")
    need(count == 1 + sum(held[2] for held in holds), "table and block header disagree")
    runs, controls = [], []
    for collection, first, run_count, run_bytes, run_checksum in holds:
        need(run_count >= 1, "an empty run")
        run_end = cursor.at + run_bytes
        need(run_end <= end, "a run ends behind the block")
        run = Cursor(data, cursor.at, run_end)
        records = [read_record(run) for _ in range(run_count)]
        run.done()
        cursor.at = run_end
        for index, record in enumerate(records):
            need(record.is_intact(collection), "the checksum of a record is wrong")
            need(record.sequence == (first + index if collection else 0), "a record has the wrong sequence")
            need(record.kind in ((PUT, DELETE) if collection else CONTROL), "a kind that has no place here")
        crc = crc32c(b"".join(record.checksum for record in records))
        need(struct.pack("<I", crc) == run_checksum, "the checksum of a run is wrong")
        if collection:
            runs.append((collection, records))
        else:
            controls.extend(records)
    cursor.done()
    return Group(
        at, end + 16, number, durable_to, previous_checksum, checksum, runs, held_before, controls, head, epoch, journal
    )


def read_open(record):
    datum = Cursor(record.payload)
    change_number = datum.natural()

    def predecessor():
        names = ("epoch", "journal", "file_id", "end", "checksum", "groups", "verdict", "dropped_bytes")
        read = (
            datum.natural,
            datum.natural,
            lambda: datum.fixed(16),
            datum.natural,
            lambda: datum.fixed(4),
            datum.natural,
            datum.long,
            datum.natural,
        )
        return {name: value() for name, value in zip(names, read)}

    predecessors = datum.array(predecessor)
    datum.done()
    need(all(before["verdict"] in (0, 1, 2) for before in predecessors), "an unknown verdict")
    return {"change_number": change_number, "predecessors": predecessors}


def read_mark(record):
    datum = Cursor(record.payload)
    mark = {"change_number": datum.natural(), "closed": datum.boolean()}
    datum.done()
    return mark


@dataclass
class Journal:
    path: str
    metadata: dict
    file_id: bytes
    groups: list  # those that count
    damage: list  # (offset, reason)
    torn_at: int | None
    marked: bool
    opened: dict | None
    walked: list  # every valid group and pad in order of offset: (offset, end, Group or None)

    def records(self):
        for group in self.groups:
            for collection, records in group.runs:
                for record in records:
                    yield collection, record

    @property
    def end(self):
        return self.groups[-1].end if self.groups else HEADER_BYTES


def read_journal(path, data, judged_end=None):
    """Reads a journal as docs/format.md says; `judged_end` is what a later journal's OPEN says of it."""
    metadata, file_id = read_journal_header(data[:HEADER_BYTES])
    cold = metadata["icecore.file"] == b"cold"
    if cold:
        judged_end = len(data)
    # 1. The walk.
    pieces, walked, at = [], [], HEADER_BYTES
    while at < len(data):
        span = read_pad(data, at, file_id)
        if span is not None and at + span <= len(data):
            walked.append((at, at + span, None))
            at += span
            continue
        try:
            need(span is None, "filler ends behind the file")
            group = read_group(data, at, file_id)
        except Bad as error:
            pieces.append(("bad", at, str(error)))
            group = next_group(data, at, file_id)
            if group is None:
                break
        pieces.append(("group", group.offset, group))
        walked.append((group.offset, group.end, group))
        at = group.end
    # 2. D.
    groups = [piece for kind, _, piece in pieces if kind == "group"]
    durable_to = max([HEADER_BYTES, *(min(group.durable_to, group.offset) for group in groups)])
    if judged_end is not None:
        durable_to = max(durable_to, judged_end)
    # 3 to 5.
    counted, damage, torn_at, bad = [], [], None, None
    for kind, offset, piece in pieces:
        if kind == "bad":
            if offset >= durable_to:
                torn_at = offset if judged_end is None else None
                break
            bad = offset
            damage.append((offset, piece))
            continue
        if judged_end is not None and offset >= judged_end:
            break
        if bad is not None and offset > durable_to:
            torn_at = durable_to
            break
        bad = None
        counted.append(piece)
    end = counted[-1].end if counted else HEADER_BYTES
    if bad is None and judged_end is not None and end < judged_end:
        damage.append((end, "the file is shorter than a later journal says"))
    controls = [control for group in counted for control in group.controls]
    opened = next((read_open(record) for record in controls if record.kind == OPEN), None)
    last = counted[-1].controls if counted else []
    marked = any(record.kind == MARK for record in last)
    if cold and not (marked and read_mark(last[0])["closed"] and end == len(data)):
        damage.append((end, "a cold journal without its last group"))
    return Journal(path, metadata, file_id, counted, damage, torn_at, marked, opened, walked)


def next_group(data, at, file_id):
    try:
        _, _, end = block_span(data, at)
        return read_group(data, end + 16, file_id)
    except Bad:
        pass
    found = data.find(file_id, at)
    while found >= 0:
        try:
            return read_group(data, found + 16, file_id)
        except Bad:
            found = data.find(file_id, found + 1)
    return None


# --- segments


def decompress(codec, stored):
    if codec == "null":
        return stored
    if codec == "deflate":
        inflate = zlib.decompressobj(-15)
        try:
            out = inflate.decompress(stored) + inflate.flush()
        except zlib.error as error:
            raise Bad("a block that cannot be decompressed") from error
        need(inflate.eof and not inflate.unused_data, "a block that does not end where it should")
        return out
    need(codec == "zstandard", f"an unknown codec: {codec}")
    try:
        from compression import zstd  # Python 3.14

        return zstd.decompress(stored)
    except ImportError:
        import zstandard

        try:
            return zstandard.ZstdDecompressor().decompressobj().decompress(stored)
        except zstandard.ZstdError as error:
            raise Bad("a block that cannot be decompressed") from error


@dataclass
class Segment:
    path: str
    metadata: dict
    footer: dict
    seal: Record
    collection_records: list

    def records(self):
        for record in self.collection_records:
            yield self.footer["collection"], record


def read_footer(data):
    c = Cursor(data)
    footer = {
        "log": c.fixed(16),
        "collection": c.string(),
        "epoch": c.natural(),
        "generation": c.natural(),
        "covers": c.range(),
        "first": c.natural(),
        "last": c.natural(),
        "removed": c.array(c.range),
        "inputs": c.array(lambda: {"covers": c.range(), "generation": c.natural(), "content_digest": c.fixed(32)}),
        "created_at": c.long(),
        "records": c.natural(),
        "timestamp_min": c.long(),
        "timestamp_max": c.long(),
        "bytes_before": c.natural(),
        "bytes_after": c.natural(),
        "content_digest": c.fixed(32),
        "codec": c.string(),
        "sync": c.fixed(16),
        "header_bytes": c.natural(),
        "header_checksum": c.natural(),
    }
    block = ("first", "last", "records", "timestamp_min", "timestamp_max", "offset", "bytes", "bytes_before", "checksum")
    footer["blocks"] = c.array(lambda: {name: c.long() for name in block})
    footer["keys"] = c.optional(
        lambda: {"records": c.natural(), "min": c.bytes(), "max": c.optional(c.bytes), "filter": c.bytes()}
    )
    c.done()
    return footer


def read_seal(data):
    """Footer and SEAL record of a segment or stub, from its end."""
    need(len(data) >= 64, "too short for a trailer")
    trailer_at = len(data) - 64
    trailer = data[trailer_at : trailer_at + 48]
    magic, version, _, seal_at, footer_at, footer_bytes, footer_crc, crc = struct.unpack("<8sIIQQQII", trailer)
    need(magic == b"ICESEAL\n" and crc == crc32c(trailer[:44]), "the trailer is missing or damaged")
    if version != 1:
        raise Refused(f"trailer version {version}")
    metadata, marker, header_bytes = read_header(data)
    count, stored_at, stored_end = block_span(data, seal_at)
    need(count == 1 and stored_end + 16 == len(data) and data[stored_end:] == marker, "the SEAL block is not the last")
    content = decompress(text(metadata, "avro.codec"), bytes(data[stored_at:stored_end]))
    cursor = Cursor(content)
    seal = read_record(cursor)
    cursor.done()
    need(seal.kind == SEAL and seal.sequence == 0 and seal.is_intact(""), "the SEAL record is damaged")
    need(seal.payload[-48:] == trailer, "the trailer of the SEAL record is another one")
    encoded = seal.payload[:-48]
    need(len(encoded) == footer_bytes and crc32c(encoded) == footer_crc, "the footer's checksum is wrong")
    if footer_at + footer_bytes == trailer_at:
        need(data[footer_at:trailer_at] == encoded, "the footer does not lie where the trailer says")
    return read_footer(encoded), seal, metadata, marker, header_bytes, seal_at


def read_segment(path, data):
    footer, seal, metadata, marker, header_bytes, seal_at = read_seal(data)
    check_version(metadata)
    need(text(metadata, "icecore.file") == "segment", "not a segment")
    collection = footer["collection"]
    seed = b"icecore sync marker" + footer["log"] + struct.pack(
        "<QIQ", footer["covers"][0], footer["generation"], footer["epoch"]
    )
    need(hashlib.sha256(seed + collection.encode()).digest()[:16] == marker == footer["sync"], "the marker is wrong")
    need(header_bytes == footer["header_bytes"], "the header has another length")
    need(crc32c(data[:header_bytes]) == footer["header_checksum"], "the header's checksum is wrong")
    for name, value in (
        ("avro.codec", footer["codec"]),
        ("icecore.log", footer["log"].hex()),
        ("icecore.collection", collection),
        ("icecore.epoch", str(footer["epoch"])),
        ("icecore.generation", str(footer["generation"])),
    ):
        need(text(metadata, name) == value, f"header and footer disagree on {name}")
    named = re.fullmatch(r"(\d{20})-(\d{20})\.(0|[1-9]\d*)\.avro", os.path.basename(path))
    if named:
        need((int(named[1]), int(named[2])) == footer["covers"], "the name has another range")
        need(int(named[3]) == footer["generation"], "the name has another generation")
    records, at, digest, bytes_after = [], header_bytes, hashlib.sha256(), 0
    for block in footer["blocks"]:
        need(block["offset"] == at, "a gap between blocks")
        end = at + block["bytes"]
        need(crc32c(data[at:end]) == block["checksum"], "the checksum of a block is wrong")
        count, stored_at, stored_end = block_span(data, at)
        need(stored_end + 16 == end and data[stored_end:end] == marker, "a block does not end in the marker")
        content = decompress(footer["codec"], bytes(data[stored_at:stored_end]))
        bytes_after += stored_end - stored_at
        digest.update(content)
        cursor = Cursor(content)
        found = [read_record(cursor) for _ in range(count)]
        cursor.done()
        need(count == block["records"] and len(content) == block["bytes_before"], "the index is wrong about a block")
        need((found[0].sequence, found[-1].sequence) == (block["first"], block["last"]), "the index has other sequences")
        times = [record.timestamp for record in found]
        need((min(times), max(times)) == (block["timestamp_min"], block["timestamp_max"]), "the index has other times")
        for record in found:
            need(record.kind in (PUT, DELETE), "a kind that has no place here")
            need(record.is_intact(collection), "the checksum of a record is wrong")
        records.extend(found)
        at = end
    need(at == seal_at, "bytes between the last block and the SEAL block")
    need(digest.digest() == footer["content_digest"], "the content digest is wrong")
    need(len(records) == footer["records"], "the number of records is wrong")
    need(bytes_after == footer["bytes_after"], "bytes_after is wrong")
    need(sum(len(record.raw) for record in records) == footer["bytes_before"], "bytes_before is wrong")
    removed = {n for first, last in footer["removed"] for n in range(first, last + 1)}
    expected = [n for n in range(footer["covers"][0], footer["covers"][1] + 1) if n not in removed]
    need([record.sequence for record in records] == expected, "the sequences are not those covered")
    if records:
        need((footer["first"], footer["last"]) == (expected[0], expected[-1]), "first and last are wrong")
    check_keys(footer["keys"], [record.key for record in records if record.key is not None])
    return Segment(path, metadata, footer, seal, records)


# --- key filters

SALT = (0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31)
M64 = (1 << 64) - 1
P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def _rotl(x, r):
    return ((x << r) | (x >> (64 - r))) & M64


def _round(acc, lane):
    return _rotl((acc + lane * P2) & M64, 31) * P1 & M64


def xxh64(data):
    n, at = len(data), 0
    if n >= 32:
        v = [(P1 + P2) & M64, P2, 0, -P1 & M64]
        while at + 32 <= n:
            for i, lane in enumerate(struct.unpack_from("<4Q", data, at)):
                v[i] = _round(v[i], lane)
            at += 32
        h = sum(_rotl(x, r) for x, r in zip(v, (1, 7, 12, 18))) & M64
        for x in v:
            h = ((h ^ _round(0, x)) * P1 + P4) & M64
    else:
        h = P5
    h = (h + n) & M64
    while at + 8 <= n:
        h = (_rotl(h ^ _round(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & M64
        at += 8
    if at + 4 <= n:
        h = (_rotl(h ^ struct.unpack_from("<I", data, at)[0] * P1 & M64, 23) * P2 + P3) & M64
        at += 4
    for byte in data[at:]:
        h = _rotl(h ^ byte * P5 & M64, 11) * P1 & M64
    h = (h ^ h >> 33) * P2 & M64
    h = (h ^ h >> 29) * P3 & M64
    return h ^ h >> 32


assert xxh64(b"") == 0xEF46DB3751D8E999 and xxh64(b"a") == 0xD24EC4F1A98C6E5B


def check_keys(keys, found):
    if not found:
        need(keys is None, "keys where no record has one")
        return
    need(keys is not None and keys["records"] == len(found), "the number of keys is wrong")
    need(keys["min"] == min(found)[:64], "the lowest key is wrong")
    highest = max(found)
    if len(highest) > 64:
        highest = highest[:64].rstrip(b"\xff")
        highest = highest[:-1] + bytes([highest[-1] + 1]) if highest else None
    need(keys["max"] == highest, "the highest key is wrong")
    blocks = -(-10 * len(set(found)) // 256)
    need(len(keys["filter"]) == 32 * blocks, "the key filter has another size")
    filled = bytearray(32 * blocks)
    for key in set(found):
        h = xxh64(key)
        block = ((h >> 32) * blocks) >> 32
        for i, salt in enumerate(SALT):
            bit = ((h & 0xFFFFFFFF) * salt & 0xFFFFFFFF) >> 27
            filled[32 * block + 4 * i + bit // 8] |= 1 << bit % 8
    need(bytes(filled) == keys["filter"], "the key filter is wrong")


def read_stub(path, data):
    footer, seal, metadata, marker, header_bytes, seal_at = read_seal(data)
    check_version(metadata)
    need(text(metadata, "icecore.file") == "stub" and seal_at == header_bytes, "not a stub")
    need(marker == footer["sync"], "the marker is not the segment's")
    return Segment(path, metadata, footer, seal, [])


# --- names


def directory_name(name):
    raw = name.encode()
    reserved = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
    escape_first = name.split(".")[0].rstrip() in reserved
    out, cut = "", 0
    for at, byte in enumerate(raw):
        char = chr(byte)
        plain = char in "abcdefghijklmnopqrstuvwxyz0123456789-_."
        if at == 0 and (char in "._" or escape_first) or at == len(raw) - 1 and char == ".":
            plain = False
        out += char if plain else f"~{byte:02x}"
        if len(out) <= 120:
            cut = len(out)
    if len(out) > 200:
        out = out[:cut] + "~~" + hashlib.sha256(raw).hexdigest()[:32]
    return out


assert directory_name("Audit log/ü") == "~41udit~20log~2f~c3~bc"
assert directory_name("con.x") == "~63on.x" and directory_name("_a.") == "~5fa~2e"


def is_journal(name):
    return re.fullmatch(r"(cold-)?\d{10,}-\d{10,}\.avro", name) is not None


def read_file(path, data=None):
    """Reads any file of the format by what its header says."""
    if data is None:
        with open(path, "rb") as file:
            data = file.read()
    metadata, _, _ = read_header(data)
    kind = metadata.get("icecore.file", b"").decode()
    if kind in ("journal", "cold"):
        return read_journal(path, data)
    if kind == "segment":
        return read_segment(path, data)
    if kind == "stub":
        return read_stub(path, data)
    raise Refused(f"icecore.file=`{kind}`")


def summary(found):
    if isinstance(found, Journal):
        return {
            "path": found.path,
            "file": found.metadata["icecore.file"].decode(),
            "groups": len(found.groups),
            "records": sum(len(records) for group in found.groups for _, records in group.runs),
            "end": found.end,
            "damage": found.damage,
            "torn_at": found.torn_at,
            "marked": found.marked,
        }
    return {
        "path": found.path,
        "file": found.metadata["icecore.file"].decode(),
        "collection": found.footer["collection"],
        "covers": found.footer["covers"],
        "records": found.footer["records"],
        "codec": found.footer["codec"],
    }


def main():
    damaged = False
    for path in sys.argv[1:]:
        try:
            found = summary(read_file(path))
            damaged |= bool(found.get("damage"))
        except (Bad, Refused) as error:
            damaged = True
            found = {"path": path, "error": str(error)}
        print(json.dumps(found))
    return 4 if damaged else 0


if __name__ == "__main__":
    sys.exit(main())
