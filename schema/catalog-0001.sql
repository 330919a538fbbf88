-- The catalog of icecore as a SQLite database, version 1.
--
-- Each row's `checksum` is CRC32C over a canonical encoding of its content (src/catalog/checksum.rs). Times are
-- microseconds since 1970-01-01 UTC. Statuses: 1 sealed, 2 archiving, 3 archived, 4 evicted (these four are live: they
-- can be read), 5 replaced, 6 purging, 7 purged, 8 quarantined.
-- Other programs may read while icecore writes. They must not write.

CREATE TABLE changes (
    number   INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE collections (
    id             INTEGER PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,
    created_at     INTEGER NOT NULL,
    floor          INTEGER NOT NULL,
    sealed_through INTEGER NOT NULL,
    sequence_max   INTEGER NOT NULL,
    settings       TEXT    NOT NULL,
    checksum       INTEGER NOT NULL
) STRICT;

-- The rowid is the change that inserted the row, so every index ends in the order of sealing.
CREATE TABLE segments (
    sealed_change  INTEGER PRIMARY KEY,
    collection_id  INTEGER NOT NULL REFERENCES collections (id),
    first_sequence INTEGER NOT NULL,
    last_sequence  INTEGER NOT NULL,
    generation     INTEGER NOT NULL,
    status         INTEGER NOT NULL,
    epoch          INTEGER NOT NULL,
    directory      TEXT    NOT NULL,
    path           TEXT    NOT NULL,
    records        INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    sha256         BLOB    NOT NULL,
    content_digest BLOB    NOT NULL,
    timestamp_min  INTEGER NOT NULL,
    timestamp_max  INTEGER NOT NULL,
    time_class     INTEGER NOT NULL, -- hexadecimal digits of timestamp_max - timestamp_min
    sealed_at      INTEGER NOT NULL,
    flushed_at     INTEGER,
    archive_key    TEXT,
    checksum       INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX segments_key ON segments (collection_id, first_sequence, last_sequence, generation);

CREATE INDEX segments_status ON segments (status);

CREATE INDEX segments_unflushed ON segments (flushed_at) WHERE flushed_at IS NULL AND status IN (1, 2, 3, 4);

-- Live segments of one generation share no sequence, so that the first whose end is at or after a sequence holds it, or
-- none does.
CREATE UNIQUE INDEX segments_live ON segments (collection_id, generation, last_sequence) WHERE status IN (1, 2, 3, 4);

CREATE INDEX segments_time ON segments (collection_id, time_class, timestamp_max, timestamp_min, last_sequence)
    WHERE status IN (1, 2, 3, 4);

CREATE TABLE segment_counts (
    status   INTEGER PRIMARY KEY,
    segments INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE assignments (
    component     TEXT    NOT NULL,
    collection    TEXT    NOT NULL,
    directory     TEXT    NOT NULL,
    epoch         INTEGER NOT NULL,
    from_sequence INTEGER NOT NULL,
    since         INTEGER NOT NULL,
    checksum      INTEGER NOT NULL,
    PRIMARY KEY (component, collection)
) STRICT, WITHOUT ROWID;

CREATE TABLE losses (
    collection      TEXT    NOT NULL,
    first_sequence  INTEGER NOT NULL,
    last_sequence   INTEGER NOT NULL,
    reason          TEXT    NOT NULL,
    found_at        INTEGER NOT NULL,
    acknowledged_by TEXT,
    acknowledged_at INTEGER,
    checksum        INTEGER NOT NULL,
    PRIMARY KEY (collection, first_sequence, last_sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (
    collection TEXT    NOT NULL,
    sink       TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    checksum   INTEGER NOT NULL,
    PRIMARY KEY (collection, sink)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name     TEXT    NOT NULL PRIMARY KEY,
    value    TEXT    NOT NULL,
    checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Views for operators.

CREATE VIEW segments_by_status AS
SELECT CASE s.status
           WHEN 1 THEN 'sealed' WHEN 2 THEN 'archiving' WHEN 3 THEN 'archived' WHEN 4 THEN 'evicted'
           WHEN 5 THEN 'replaced' WHEN 6 THEN 'purging' WHEN 7 THEN 'purged' WHEN 8 THEN 'quarantined'
           ELSE 'unknown ' || s.status
       END AS status,
       c.name AS collection,
       s.first_sequence, s.last_sequence, s.generation, s.records, s.bytes, s.directory, s.path, s.archive_key,
       datetime(s.sealed_at / 1000000, 'unixepoch') AS sealed_at,
       datetime(s.flushed_at / 1000000, 'unixepoch') AS flushed_at
FROM segments AS s JOIN collections AS c ON c.id = s.collection_id;

CREATE VIEW segment_history AS
SELECT subject AS collection,
       detail ->> '$.first' AS first_sequence,
       detail ->> '$.last' AS last_sequence,
       detail ->> '$.generation' AS generation,
       number AS change,
       datetime(at / 1000000, 'unixepoch') AS at,
       kind,
       CASE kind WHEN 'segment.status' THEN detail ->> '$.from' END AS from_status,
       CASE kind WHEN 'segment.status' THEN detail ->> '$.to' ELSE detail ->> '$.status' END AS to_status,
       CASE kind WHEN 'segment.relocate' THEN detail ->> '$.from' END AS from_directory,
       CASE kind WHEN 'segment.relocate' THEN detail ->> '$.to' ELSE detail ->> '$.directory' END AS to_directory,
       reason
FROM changes
WHERE kind IN ('segment.insert', 'segment.status', 'segment.flushed', 'segment.relocate');

CREATE VIEW archive_lag AS
SELECT c.name AS collection,
       count(*) AS segments,
       sum(s.records) AS records,
       sum(s.bytes) AS bytes,
       min(s.first_sequence) AS first_sequence,
       datetime(min(s.sealed_at) / 1000000, 'unixepoch') AS oldest_sealed_at
FROM segments AS s JOIN collections AS c ON c.id = s.collection_id
WHERE s.status IN (1, 2)
GROUP BY c.id;
