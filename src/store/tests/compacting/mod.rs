//! What the policy lets go goes, and nothing else, whatever happens meanwhile.

mod along;
mod crashes;
mod meanwhile;
mod model;

use std::time::Duration;

use super::*;

/// A record of a test: its key, whether it is a tombstone, its time and its expiry, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct One {
    sequence: u64,
    key: Option<u8>,
    is_delete: bool,
    time: i64,
    expires: Option<i64>,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

/// `"k"` puts a key, `"-k"` deletes it, `"k!7"` expires at 7, `""` has no key. Its time is its sequence.
fn ones(from: u64, texts: &[&str]) -> Vec<One> {
    let one = |(index, text): (usize, &&str)| {
        let sequence = from + index as u64;
        let (text, expires) =
            text.split_once('!').map_or((*text, None), |(text, at)| (text, Some(at.parse().unwrap())));
        let (is_delete, key) = text.strip_prefix('-').map_or((false, text), |key| (true, key));
        One { sequence, key: key.bytes().next(), is_delete, time: sequence.cast_signed(), expires }
    };
    texts.iter().enumerate().map(one).collect()
}

impl One {
    fn record(&self) -> Record {
        let payload = format!("{}:{}", self.sequence, "x".repeat(30));
        let new = match self.key {
            Some(key) if self.is_delete => NewRecord::delete(vec![key]),
            Some(key) => NewRecord::put(vec![key], payload),
            None => NewRecord::payload(payload),
        };
        let new = new.with_timestamp(at(self.time));
        stored(self.sequence, self.expires.map_or(new.clone(), |expires| new.with_expiry(at(expires))))
    }

    fn of(record: &Record) -> Self {
        Self {
            sequence: record.sequence.0,
            key: record.key.as_ref().map(|key| key[0]),
            is_delete: record.kind == RecordKind::Delete,
            time: record.timestamp.0 / 1_000_000,
            expires: record.expires_at.map(|at| at.0 / 1_000_000),
        }
    }
}

fn apply_ones(store: &ColumnarStore, ones: &[One]) {
    let records: Vec<Record> = ones.iter().map(One::record).collect();
    let has = cursor(store).unwrap_or(0);
    let through = ones.last().map_or(has, |last| last.sequence);
    store.apply(&batch(&orders(), has, &records, through)).unwrap();
}

/// A file for each list.
fn filled(store: &ColumnarStore, files: &[&[&str]]) -> Vec<One> {
    let mut all = Vec::new();
    for texts in files {
        let ones = ones(all.len() as u64 + 1, texts);
        apply_ones(store, &ones);
        all.extend(ones);
    }
    all
}

fn there(store: &ColumnarStore) -> Vec<One> {
    let records = all(store);
    let ones: Vec<One> = records.iter().map(One::of).collect();
    assert_eq!(ones.iter().map(One::record).collect::<Vec<_>>(), records, "byte for byte");
    ones
}

fn sequences(store: &ColumnarStore) -> Vec<u64> {
    there(store).iter().map(|one| one.sequence).collect()
}

fn policy(keep: Option<u64>, ttl: Option<u64>, grace: Option<u64>) -> CompactionPolicy {
    CompactionPolicy {
        keep_versions: keep,
        ttl: ttl.map(Duration::from_secs),
        tombstone_grace: grace.map(Duration::from_secs),
        target_bytes: 0,
    }
}

fn moment(policy: CompactionPolicy, now: i64) -> Moment {
    Moment { policy, now: Some(at(now)) }
}

fn stays(_: Sequence, _: Sequence) -> Result<Option<String>> {
    Ok(None)
}

fn compact(store: &ColumnarStore, moment: Moment) -> Freed {
    compact_while(store, moment, &mut |_| true)
}

fn compact_while(store: &ColumnarStore, moment: Moment, pace: &mut dyn FnMut(u64) -> bool) -> Freed {
    let mut order = Order { moment, gain_percent: 0, dry_run: false, must_stay: &stays, pace };
    store.compact(&orders(), &mut order).unwrap().unwrap()
}

/// What the policy leaves of a list, as the documentation says it: from the oldest on, each by what is newer in the list, and by what older ones
/// stayed.
fn left_of(all: &[One], moment: &Moment) -> Vec<One> {
    let now = moment.now.map(|now| now.0 / 1_000_000);
    let is_over = |time: i64, span: Option<Duration>| {
        span.zip(now).is_some_and(|(span, now)| time + span.as_secs().cast_signed() <= now)
    };
    let mut left: Vec<One> = Vec::new();
    for one in all {
        let is_behind_grace = |one: &One| one.is_delete && is_over(one.time, moment.policy.tombstone_grace);
        let is_expired = !one.is_delete
            && (is_over(one.time, moment.policy.ttl) || one.expires.zip(now).is_some_and(|(at, now)| at <= now));
        let newer =
            || all.iter().filter(|newer| one.key.is_some() && newer.key == one.key && newer.sequence > one.sequence);
        let is_beyond = one.key.is_some()
            && moment
                .policy
                .keep_versions
                .is_some_and(|keep| newer().count() as u64 >= keep || newer().any(is_behind_grace));
        let is_last = one.key.is_none() || left.iter().all(|older| older.key != one.key);
        let goes = match one.is_delete {
            true => (is_behind_grace(one) || is_beyond) && is_last,
            false => is_beyond || (is_expired && (newer().next().is_some() || is_last)),
        };
        if !goes {
            left.push(*one);
        }
    }
    left
}

#[test]
fn versions_tombstones_and_what_is_expired_go_and_the_report_says_what() {
    let objects = memory();
    let store = open(&objects);
    let all = filled(&store, &[&["a", "b", "c!5"], &["a", "-b", ""], &["a", "d"]]);
    let before: u64 = objects
        .objects()
        .iter()
        .filter(|(key, _)| key.ends_with(".parquet"))
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    let moment = moment(policy(Some(2), None, Some(10)), 100);
    assert_eq!(left_of(&all, &moment).iter().map(|one| one.sequence).collect::<Vec<_>>(), [4, 6, 7, 8]);
    let freed = compact(&store, moment);
    assert_eq!(sequences(&store), [4, 6, 7, 8]);
    assert_eq!((freed.files_before, freed.files_after, freed.failed), (2, 1, None), "nothing is left of the first");
    assert_eq!((freed.removed.versions, freed.removed.expired, freed.removed.tombstones), (2, 1, 1));
    let after: u64 = objects
        .objects()
        .iter()
        .filter(|(key, _)| key.ends_with(".parquet"))
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    assert_eq!(before - after, freed.bytes_before - freed.bytes_after, "it is off the disk");
    assert_eq!((cursor(&store), sequences(&open(&objects))), (Some(8), vec![4, 6, 7, 8]));
    assert_tidy(&objects, &store);
    // Delivered once more: the cursor says that it was there.
    let again: Vec<Record> = all.iter().map(One::record).collect();
    store.apply(&batch(&orders(), 0, &again, 8)).unwrap();
    assert_eq!(sequences(&store), [4, 6, 7, 8]);
    assert_eq!(compact(&store, moment), Freed::default());
}

/// A tombstone stays as long as anything older of its key does, in whatever file, held or not.
#[test]
fn nothing_shows_through() {
    let objects = memory();
    let store = open(&objects);
    filled(&store, &[&["a", "x"], &["-a"], &["y"]]);
    let now = moment(policy(None, None, Some(1)), 100);
    assert_eq!(
        compact(&store, now),
        Freed::default(),
        "without a limit on versions the first stays, and so does what hides it"
    );
    let held = |first: Sequence, last: Sequence| -> Result<Option<String>> {
        Ok((first <= Sequence(1) && Sequence(1) <= last).then(|| "held".to_owned()))
    };
    let now = moment(policy(Some(1), None, Some(1)), 100);
    let mut order = Order { moment: now, gain_percent: 0, dry_run: false, must_stay: &held, pace: &mut |_| true };
    let freed = store.compact(&orders(), &mut order).unwrap().unwrap();
    assert_eq!((freed.files_before, freed.left_alone.len(), freed.left_alone[0].files), (0, 1, 1));
    assert_eq!(freed.left_alone[0].reason, "held");
    assert_eq!(sequences(&store), [1, 2, 3, 4]);
    compact(&store, now);
    assert_eq!(sequences(&store), [2, 4]);
    assert_tidy(&objects, &store);
}

#[test]
fn a_dry_run_says_what_would_go_and_changes_nothing() {
    let objects = memory();
    let store = open(&objects);
    filled(&store, &[&["a", "b"], &["a", "a"]]);
    let before = objects.objects();
    let pace: &mut dyn FnMut(u64) -> bool = &mut |_| true;
    let now = moment(policy(Some(1), None, None), 100);
    let mut order = Order { moment: now, gain_percent: 0, dry_run: true, must_stay: &stays, pace };
    let foreseen = store.compact(&orders(), &mut order).unwrap().unwrap();
    assert_eq!(objects.objects(), before);
    let freed = compact(&store, now);
    assert_eq!(
        (foreseen.files_before, foreseen.files_after, foreseen.removed),
        (freed.files_before, freed.files_after, freed.removed)
    );
    assert_eq!((foreseen.bytes_before, freed.removed.versions), (freed.bytes_before, 2));
}

/// Set back, or not believed: only versions go.
#[test]
fn without_a_clock_nothing_expires() {
    let store = open(&memory());
    let all = filled(&store, &[&["a!1", "b", "-b"], &["c!1", "c", "-d"]]);
    let policy = policy(Some(1), Some(1), Some(1));
    let unbelieved = Moment { policy, now: None };
    let freed = compact(&store, unbelieved);
    assert_eq!((freed.removed.expired, freed.removed.tombstones, freed.removed.versions), (0, 0, 2));
    assert_eq!(there(&store), left_of(&all, &unbelieved));
    assert_eq!(sequences(&store), [1, 3, 5, 6]);
    compact(&store, moment(policy, 1));
    assert_eq!(sequences(&store), [3, 5, 6], "by its own expiry");
    compact(&store, moment(policy, 7));
    assert_eq!(sequences(&store), [0; 0]);
    assert_eq!(cursor(&store), Some(6));
}

/// What a file's state and footer say is enough where nothing can go: none of its columns is read.
#[test]
fn a_second_look_reads_no_columns() {
    let objects = memory();
    let store = open(&objects);
    filled(&store, &[&["a", "b!500"], &["c", "-d"]]);
    let paced = |moment| {
        let mut bytes = 0;
        let freed = compact_while(&store, moment, &mut |more| {
            bytes += more;
            true
        });
        (freed.files_before, bytes)
    };
    let by_time = |now| moment(policy(None, Some(1000), Some(1000)), now);
    assert_eq!(paced(by_time(100)), (0, 0), "nothing is that old");
    let versions = |now| moment(policy(Some(3), None, None), now);
    let (files, bytes) = paced(versions(100));
    assert!(files == 0 && bytes > 0);
    assert_eq!(paced(versions(101)), (0, 0), "as it was");
    assert_eq!(paced(versions(501)).0, 1, "one is expired by now");
}

/// A file is written anew only where enough of it goes; what it hides stays with it.
#[test]
fn what_is_not_worth_it_stays_whole() {
    let store = open(&memory());
    let many: Vec<String> = (0..20).map(|n| char::from(b'a' + n).to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    filled(&store, &[&many, &["a"]]);
    let mut order = Order {
        moment: moment(policy(Some(1), None, None), 100),
        gain_percent: 10,
        dry_run: false,
        must_stay: &stays,
        pace: &mut |_| true,
    };
    assert_eq!(store.compact(&orders(), &mut order).unwrap().unwrap(), Freed::default());
    assert_eq!(sequences(&store).len(), 21);
    assert_eq!(compact(&store, order.moment).removed.versions, 1);
}

/// Small neighbours become one, also where nothing goes, and where files between them went.
#[test]
fn neighbours_are_merged_by_the_stores_own_size() {
    let objects = memory();
    let store = open_with(&objects, StoreOptions { merge_files: 100, ..StoreOptions::default() });
    filled(&store, &[&["a"], &["b"], &["b"], &["c"]]);
    let keep = moment(policy(None, None, None), 100);
    let freed = compact(&store, keep);
    assert_eq!((freed.files_before, freed.files_after, freed.removed.total()), (4, 1, 0));
    assert_eq!(sequences(&store), [1, 2, 3, 4]);
    assert_eq!(compact(&store, keep), Freed::default());
    let never = open_with(&objects, StoreOptions { merge_files: 0, ..StoreOptions::default() });
    apply_ones(&never, &ones(5, &["d"]));
    assert_eq!(compact(&never, keep), Freed::default());
}
