//! The table of settings: every key, what it means, what it may be.
//!
//! A new setting is a field in [`settings`](super::settings) and a line here; file, environment, `--set`, validation,
//! suggestions and `icecore config` follow from the line.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::settings::Settings;
use super::units::ByteSize;
use super::value::{Raw, SegmentCodec, SettingValue, Shown};

/// One setting.
pub struct Key {
    /// Its name, such as `sync.mode`.
    pub name: &'static str,
    /// What it means, in a line.
    pub help: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
    /// The least and the most that it may be, as they are written; `None` where its values have no order, or no bounds.
    pub range: fn() -> Option<(String, String)>,
    pub(super) read: fn(&mut Settings, &Raw) -> Result<(), String>,
    pub(super) show: fn(&Settings) -> Option<Shown>,
}

macro_rules! keys {
    ($($first:ident $(. $rest:ident)* $(in $range:expr)? => $help:literal;)+) => {
        /// Every setting, in the order of the documentation.
        pub static KEYS: &[Key] = &[$(
            Key {
                name: concat!(stringify!($first) $(, ".", stringify!($rest))*),
                help: $help,
                secret: secrecy_of(|settings| &settings.$first $(. $rest)*),
                range: || [$(bounds(&$range))?].into_iter().next(),
                read: |settings, raw| {
                    let value = SettingValue::read(raw)?;
                    $(within(&value, &$range)?;)?
                    settings.$first $(. $rest)* = value;
                    Ok(())
                },
                show: |settings| settings.$first $(. $rest)* .show(),
            },
        )+];
    };
}

/// Whether the field behind an accessor is a secret; its type alone tells.
const fn secrecy_of<T: SettingValue>(_field: fn(&Settings) -> &T) -> bool {
    T::SECRET
}

fn line(value: &impl SettingValue) -> String {
    value.show().map(|shown| shown.line()).unwrap_or_default()
}

fn bounds<B: SettingValue>(range: &RangeInclusive<B>) -> (String, String) {
    (line(range.start()), line(range.end()))
}

fn within<V: Bounded>(value: &V, range: &RangeInclusive<V::Bound>) -> Result<(), String> {
    if value.bounded().is_none_or(|value| range.contains(value)) {
        return Ok(());
    }
    let (least, most) = bounds(range);
    Err(format!("it must be from {least} to {most}"))
}

/// A value that has bounds, or none that could be beyond them.
trait Bounded {
    type Bound: SettingValue + PartialOrd;

    fn bounded(&self) -> Option<&Self::Bound>;
}

macro_rules! bounded {
    ($($bound:ty),+) => {$(
        impl Bounded for $bound {
            type Bound = Self;

            fn bounded(&self) -> Option<&Self> {
                Some(self)
            }
        }

        impl Bounded for Option<$bound> {
            type Bound = $bound;

            fn bounded(&self) -> Option<&$bound> {
                self.as_ref()
            }
        }
    )+};
}

bounded!(ByteSize, Duration, u64);

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const WEEK: Duration = Duration::from_hours(24 * 7);
const YEAR: Duration = Duration::from_hours(24 * 365);
const CENTURY: Duration = Duration::from_hours(24 * 365 * 100);

/// The longest file that offsets of 32 bits within a block and comfortable preallocation allow.
const FILE_MAX: ByteSize = ByteSize::gib(4);

keys! {
    data => "directories of the log, as paths or URLs";
    sync.mode => "when an append returns: always, per-batch, periodic or never";
    sync.interval in millis(1)..=millis(3_600_000) => "periodic: the longest time between a write and its sync";
    sync.bytes in ByteSize(1)..=ByteSize::gib(64) => "periodic: sync after this many bytes written";
    sync.records in 1..=1_000_000_000 => "periodic: sync after this many records written";
    limits.record_bytes in ByteSize(1)..=ByteSize::gib(1) => "the largest payload of a record";
    limits.key_bytes in ByteSize(1)..=ByteSize::mib(16) => "the largest key";
    limits.headers_bytes in ByteSize(0)..=ByteSize::mib(16) => "the largest sum of one record's headers";
    limits.batch_bytes in ByteSize(1)..=ByteSize::gib(2) => "the largest batch";
    limits.memtable_bytes in ByteSize::mib(1)..=ByteSize::gib(1024) => "the most bytes of records held in memory";
    limits.unsealed_bytes in ByteSize::mib(1)..=ByteSize::gib(65_536) => "the most bytes of records in no segment yet; appends fail above it";
    journal.bytes in ByteSize::mib(1)..=FILE_MAX => "length of one journal file";
    segment.bytes in ByteSize::kib(64)..=FILE_MAX => "the most bytes of records, before compression, in one segment";
    segment.codec => "compression of segments: zstandard, deflate or null";
    segment.level in 1..=22 => "how hard to compress: 1 to 22 for zstandard, 1 to 9 for deflate";
    segment.block_bytes in ByteSize::kib(1)..=ByteSize::mib(64) => "bytes of records, before compression, in one block";
    seal.age in millis(1000)..=YEAR => "the oldest that an unsealed record may become";
    seal.cold_bytes in ByteSize(0)..=ByteSize::gib(1) => "smaller remainders go to a cold journal";
    sinks => "what records are delivered to: store (Parquet files, search), kv (newest version of each key); unset, nothing";
    flush.bytes in ByteSize(1)..=FILE_MAX => "bytes of one collection not yet in its sinks at which it is flushed";
    flush.total_bytes in ByteSize(1)..=ByteSize::gib(65_536) => "bytes of all collections not yet in their sinks at which the largest are flushed";
    flush.age in millis(1000)..=YEAR => "the oldest that a record not yet in its sinks may become";
    store.url => "the object store that the columnar store's files are in, as a URL; unset, they are in the log's directories";
    store.file_bytes in ByteSize::mib(1)..=ByteSize::gib(4) => "the size that the columnar store's files are merged to";
    store.merge_files in 0..=100_000 => "from more small files in a collection than this on they are merged; 0 never does";
    store.footer_bytes in ByteSize(0)..=ByteSize::gib(64) => "the most bytes of the footers of the columnar store's files held in memory";
    search.cache_bytes in ByteSize(0)..=ByteSize::gib(1024) => "the most bytes of memory for searching the store's files: indexes, what is being read, and what is kept; 16 MiB at least are used";
    search.tail_bytes in ByteSize(0)..=ByteSize::gib(64) => "the most bytes of vectors in no file yet held in memory for searching; the others are read from the log";
    kv.cache_bytes in ByteSize::mib(1)..=ByteSize::gib(1024) => "the most bytes of the key-value store held in memory for reading";
    placement.policy => "where a new collection goes: round-robin, hash or least-used";
    placement.over => "which directories those are: all, remotes too, or local";
    collections.auto_create => "whether appending to a new name makes the collection: true or false";
    catalog.engine => "what keeps the catalog: sqlite, mdbx or lmdb; a second one mirrors it; unset, what keeps it now";
    catalog.path => "a directory for the catalog instead of the log's first directory";
    archive.url => "the object store that sealed segments are archived to, as a URL; unset, nothing is archived";
    archive.parallel in 1..=64 => "how many segments are sent at once";
    archive.memory_bytes in ByteSize::mib(16)..=ByteSize::gib(64) => "the most bytes held in memory while segments are sent";
    archive.bandwidth in ByteSize::kib(1)..=ByteSize::gib(1024) => "the most bytes sent in a second; unset, no limit";
    archive.deadline in millis(1000)..=WEEK => "how long a segment may take to be sent, with all tries; then it waits its turn again";
    archive.batch in 1..=10_000 => "the most segments that one manifest names";
    archive.batch_age in millis(0)..=millis(3_600_000) => "how long an archived segment may wait for others to be named with it";
    archive.snapshot_age in millis(60_000)..=YEAR => "how often a copy of the catalog is archived";
    archive.retain in millis(60_000)..=CENTURY => "how long the store must refuse to delete an object (S3 Object Lock, Azure immutability); unset, it is not asked to";
    archive.retain_mode => "who may delete an object before that: locked (nobody) or governed (holders of a special right)";
    archive.cache_bytes in ByteSize(0)..=ByteSize::gib(1024) => "the most bytes of archived blocks held in memory for reading";
    archive.storage_class => "the class that objects are stored in, by the store's own word, such as STANDARD_IA or Cool";
    archive.multipart_bytes in ByteSize::mib(5)..=ByteSize::gib(4) => "larger objects are sent in parts";
    archive.part_bytes in ByteSize::mib(5)..=ByteSize::gib(4) => "length of a part";
    archive.connect_timeout in millis(10)..=millis(600_000) => "how long a connection to the store may take to come about";
    archive.request_timeout in millis(100)..=millis(3_600_000) => "how long one request to the store may take; then it is given up";
    archive.ca_file => "a PEM file with certificates of authorities to trust besides the system's";
    s3.endpoint => "the URL of an S3-compatible server, such as http://127.0.0.1:9000; unset, AWS_ENDPOINT_URL or Amazon's own";
    s3.region => "the region; unset, AWS_REGION or the profile's";
    s3.path_style => "whether the bucket stands in the path of a request: true or false; unset, true where there is an endpoint";
    s3.profile => "the profile of the AWS configuration files; unset, AWS_PROFILE";
    azure.endpoint => "the URL of the Blob service, such as http://127.0.0.1:10000/devstoreaccount1; unset, the account's own";
    azure.service_version => "the version of the Blob service's protocol, such as 2025-11-05";
    evict.after in millis(0)..=CENTURY => "the archiver drops local copies of segments that were archived so long ago; unset, none for that";
    evict.above_bytes in ByteSize(0)..=ByteSize::gib(1 << 30) => "the archiver drops the oldest local copies of archived segments beyond so many bytes; unset, none for that";
    retention.age in millis(1000)..=CENTURY => "segments whose newest record is older may be purged; unset, none are for their age";
    retention.bytes in ByteSize(1)..=ByteSize::gib(1 << 30) => "the oldest segments of a collection beyond so many bytes may be purged; unset, none are for their size";
    retention.records in 1..=(1 << 62) => "the oldest segments of a collection beyond so many records may be purged; unset, none are for their number";
    retention.grace in millis(0)..=YEAR => "how long purged objects stay in the store, for restores that began before";
    compact.keep_versions in 1..=(1 << 62) => "the newest versions of a key that compaction leaves; unset, all";
    compact.ttl in millis(1000)..=CENTURY => "records expire so long after their own time; unset, by their own expiry only";
    compact.tombstone_grace in millis(1000)..=CENTURY => "tombstones may go so long after their own time; unset, never";
    compact.target_bytes in ByteSize(0)..=FILE_MAX => "compaction merges small neighbours up to so many bytes of records, before compression; 0, none";
    compact.interval in millis(1000)..=YEAR => "how often compaction runs by itself; unset, never";
    compact.bytes_per_second in ByteSize::kib(1)..=ByteSize::gib(1024) => "the most bytes that compaction reads and writes in a second";
    compact.quiet_hours => "when compaction may run by itself, in UTC, such as 22:00-06:00; unset, always";
    price.currency => "the currency of the prices";
    price.put => "price of 1,000 requests that send (put, part, block)";
    price.get => "price of 1,000 requests that read (get, head)";
    price.list => "price of 1,000 listings";
    price.delete => "price of 1,000 deletions";
    price.received_gib => "price of 1 GiB received from the store";
    price.stored_gib_month => "price of 1 GiB kept for a month";
    log.level => "what is logged on stderr: off, error, warn, info, debug or trace";
}

/// A short spelling, and the key that it stands for.
pub(super) const SHORT: [(&str, &str); 3] =
    [("archive", "archive.url"), ("catalog", "catalog.engine"), ("sync", "sync.mode")];

/// The setting of that name, short spellings included.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    let name = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full);
    KEYS.iter().find(|key| key.name == name)
}

/// The environment variable of a setting: `flush.bytes` is `ICECORE_FLUSH_BYTES`.
#[must_use]
pub fn variable(name: &str) -> String {
    format!("ICECORE_{}", name.replace('.', "_").to_ascii_uppercase())
}

/// A rule between two settings that does not hold.
pub(super) struct Broken {
    /// The setting to change.
    pub key: &'static str,
    /// What it must be.
    pub why: String,
    /// The setting that it does not go with.
    pub other: &'static str,
}

/// The first rule between settings that does not hold.
pub(super) fn check_together(settings: &Settings) -> Option<Broken> {
    let Settings { limits, journal, segment, .. } = settings;
    // (the smaller, the larger): what is named second must have room for what is named first.
    let pairs = [
        ("limits.key_bytes", limits.key_bytes, "limits.record_bytes", limits.record_bytes),
        ("limits.headers_bytes", limits.headers_bytes, "limits.record_bytes", limits.record_bytes),
        ("limits.record_bytes", limits.record_bytes, "limits.batch_bytes", limits.batch_bytes),
        ("limits.batch_bytes", limits.batch_bytes, "journal.bytes", journal.bytes),
        ("limits.batch_bytes", limits.batch_bytes, "limits.memtable_bytes", limits.memtable_bytes),
        ("limits.batch_bytes", limits.batch_bytes, "limits.unsealed_bytes", limits.unsealed_bytes),
        ("archive.part_bytes", settings.archive.part_bytes, "archive.memory_bytes", settings.archive.memory_bytes),
        ("segment.block_bytes", segment.block_bytes, "segment.bytes", segment.bytes),
    ];
    for (key, small, other, large) in pairs {
        if small > large {
            return Some(Broken { key, why: format!("it must be at most {other}, which is {large}"), other });
        }
    }
    let archive = &settings.archive;
    if let Some(bandwidth) = archive.bandwidth {
        // What is sent at once must arrive within its deadline: else nothing ever would.
        let least = archive.parallel.saturating_mul(archive.multipart_bytes.0) / archive.deadline.as_secs().max(1) + 1;
        if bandwidth.0 < least {
            let why = format!(
                "it must be at least {least} bytes, for archive.parallel objects of archive.multipart_bytes within archive.deadline"
            );
            return Some(Broken { key: "archive.bandwidth", why, other: "archive.deadline" });
        }
    }
    if segment.codec == SegmentCodec::Deflate && segment.level > 9 {
        let why = "it must be from 1 to 9 for segment.codec deflate".to_owned();
        return Some(Broken { key: "segment.level", why, other: "segment.codec" });
    }
    None
}

impl SettingValue for PathBuf {
    fn read(raw: &Raw) -> Result<Self, String> {
        String::read(raw).map(Self::from)
    }

    fn show(&self) -> Option<Shown> {
        Some(Shown::One(self.display().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_reads_back_within_its_limits() {
        let defaults = Settings::default();
        for key in KEYS {
            let Some(shown) = (key.show)(&defaults) else { continue };
            if shown == Shown::Many(Vec::new()) {
                continue;
            }
            let mut settings = Settings::default();
            assert_eq!((key.read)(&mut settings, &Raw::Word(shown.line())), Ok(()), "{}", key.name);
            assert_eq!(settings, defaults, "{}", key.name);
        }
        assert!(check_together(&defaults).is_none());
    }

    #[test]
    fn no_two_settings_share_a_name_or_a_variable() {
        let mut seen = std::collections::BTreeSet::new();
        for name in KEYS.iter().map(|key| key.name).chain(SHORT.iter().map(|(short, _)| *short)) {
            assert!(seen.insert(variable(name)), "{name}");
            assert!(find(name).is_some(), "{name}");
        }
        assert_eq!(variable("flush.bytes"), "ICECORE_FLUSH_BYTES");
    }
}
