//! One suite for every engine: each test is a function of an opened, empty catalog.
//!
//! An engine takes part by [`run_on!`](run_on) with an expression that opens an empty one, and its own tests for what
//! its files can suffer.

pub mod copies;
pub mod files;
pub mod history;
mod random;
pub mod segments;
pub mod small;

use super::{Catalog, CatalogError, CatalogResult, Mutation, SegmentKey, SegmentRow, SegmentStatus};
use crate::types::{ChangeNumber, CollectionName, Epoch, Generation, Sequence, Timestamp};

pub use history::one_of_each;
pub use random::Answers;
pub use random::mutations;

/// Makes a `#[test]` of each function of the suite, on the catalog that the expression opens.
macro_rules! run_on {
    ($open:expr; $($room:ident: $($test:ident)*;)*) => {
        $(mod $room {
            #[allow(unused_imports, reason = "what the expression needs")]
            use super::*;
            $(#[test]
            fn $test() {
                let (_keep, catalog) = $open;
                $crate::catalog::conformance::$room::$test(&*catalog);
            })*
        })*
    };
    ($open:expr) => {
        $crate::catalog::conformance::run_on! {
            $open;
            history:
                an_empty_catalog_knows_nothing changes_are_dense_and_say_when_and_why
                a_refused_group_changes_nothing groups_are_one_transaction_and_keep_their_own_time_and_reason
                history_replayed_gives_the_same_catalog;
            segments:
                a_segment_is_kept_as_given an_equal_row_is_refused what_no_segment_can_be_is_refused
                every_pair_of_statuses_by_real_rows live_segments_never_overlap look_ups_by_sequence
                generations_side_by_side keys_in_order_of_names next_to_archive_ignores_other_statuses
                not_flushed_is_a_question_of_live_rows look_ups_by_time counts_follow_transitions
                archive_keys_come_and_go a_relocated_segment_has_another_directory;
            copies:
                a_copy_answers_alike a_copy_replaces_nothing a_copy_beside_changes_is_a_beginning_of_the_history;
            small:
                collections_are_made_and_listed floor_and_sealed_through_never_go_back
                losses_become_gaps_once what_is_found_again_is_no_loss cursors_only_advance the_newest_assignment_wins values_under_names names_fit_every_engine
                the_maximum_sequence_counts_everything numbers_up_to_63_bits_fit;
        }
    };
}
pub(crate) use run_on;

/// Makes a `#[test]` of each function of an engine.
#[allow(unused_macros, reason = "there are builds without engines")]
macro_rules! run_on_files {
    ($engine:expr; $($test:ident)*) => {
        mod files {
            use super::Engine;
            $(#[test]
            fn $test() {
                $crate::catalog::conformance::files::$test($engine);
            })*
        }
    };
}
#[allow(unused_imports, reason = "there are builds without engines")]
pub(crate) use run_on_files;

mod on_memory {
    use crate::catalog::MemoryCatalog;

    super::run_on! { ((), Box::new(MemoryCatalog::new())) }
}

/// The suite on a catalog in a file.
#[allow(unused_macros, reason = "there are builds without engines")]
macro_rules! on_engine {
    ($room:ident, $engine:ident) => {
        mod $room {
            use crate::catalog::{Catalog, CatalogMode, Engine};

            fn open() -> (tempfile::TempDir, std::sync::Arc<dyn Catalog>) {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join(Engine::$engine.file_name("catalog"));
                let catalog = Engine::$engine.open(&path, CatalogMode::Create).unwrap();
                assert_eq!(catalog.engine(), Some(Engine::$engine));
                (directory, catalog)
            }

            crate::catalog::conformance::run_on! { open() }
            crate::catalog::conformance::run_on_files! {
                Engine::$engine;
                only_a_missing_file_is_not_found a_blank_file_is_made_a_catalog_only_on_request
                a_file_of_another_kind_is_damage_and_stays_as_it_is reads_beside_a_writer
                reads_in_a_directory_that_takes_no_writes two_writers_number_their_changes_as_one
                look_ups_go_on_beside_an_apply_and_never_see_half_of_it opened_and_closed_by_many_threads_at_once
            }
        }
    };
}
#[cfg(feature = "lmdb")]
on_engine!(on_lmdb, Lmdb);
#[cfg(all(feature = "mdbx", any(target_os = "linux", target_os = "macos")))]
on_engine!(on_mdbx, Mdbx);
#[cfg(feature = "sqlite")]
on_engine!(on_sqlite, Sqlite);

pub fn name(text: &str) -> CollectionName {
    CollectionName::new(text).unwrap()
}

pub fn key(collection: &str, first: u64, last: u64, generation: u32) -> SegmentKey {
    SegmentKey {
        collection: name(collection),
        first: Sequence(first),
        last: Sequence(last),
        generation: Generation(generation),
    }
}

/// A sealed segment whose record times are its sequences.
pub fn row(collection: &str, first: u64, last: u64) -> SegmentRow {
    let key = key(collection, first, last, 0);
    let mut sha256 = [7; 32];
    sha256[..8].copy_from_slice(&first.to_le_bytes());
    SegmentRow {
        status: SegmentStatus::Sealed,
        epoch: Epoch(3),
        directory: "/disk-1".to_owned(),
        path: format!("{}/{first:020}-{last:020}.0.avro", key.collection.directory_name()),
        records: last - first + 1,
        bytes: 1000 + first,
        sha256,
        content_digest: [9; 32],
        timestamp_min: Timestamp(i64::try_from(first).unwrap_or(i64::MAX)),
        timestamp_max: Timestamp(i64::try_from(last).unwrap_or(i64::MAX)),
        sealed_at: Timestamp(1_700_000_000_000_000),
        sealed_change: ChangeNumber(0),
        flushed_at: None,
        archive_key: None,
        key,
    }
}

pub fn insert(collection: &str, first: u64, last: u64) -> Mutation {
    Mutation::InsertSegment(row(collection, first, last))
}

/// A new segment of a collection that only the asking thread uses.
pub fn row_after(catalog: &dyn Catalog) -> Mutation {
    let own = format!("{:?}", std::thread::current().id());
    let next = catalog.sequence_max(&name(&own)).unwrap().get() + 1;
    insert(&own, next, next + 4)
}

pub fn step(key: &SegmentKey, from: SegmentStatus, to: SegmentStatus) -> Mutation {
    Mutation::Transition { key: key.clone(), from, to, archive_key: None }
}

pub fn apply(catalog: &dyn Catalog, mutations: &[Mutation]) -> CatalogResult<ChangeNumber> {
    catalog.apply(mutations, Timestamp(42), "a test")
}

pub fn refused(result: CatalogResult<ChangeNumber>) -> String {
    match result {
        Err(CatalogError::Refused(refused)) => refused.what,
        other => panic!("not refused: {other:?}"),
    }
}

pub fn keys(rows: &[SegmentRow]) -> Vec<String> {
    rows.iter().map(|row| row.key.to_string()).collect()
}

/// A way from a row that can be inserted to one of `status`.
pub fn way_to(status: SegmentStatus) -> &'static [SegmentStatus] {
    use SegmentStatus::{Archived, Archiving, Evicted, Purged, Purging, Quarantined, Replaced, Sealed};
    match status {
        Sealed => &[Sealed],
        Archiving => &[Sealed, Archiving],
        Archived => &[Sealed, Archiving, Archived],
        Evicted => &[Evicted],
        Replaced => &[Sealed, Replaced],
        Purging => &[Sealed, Purging],
        Purged => &[Sealed, Purging, Purged],
        Quarantined => &[Quarantined],
    }
}

/// Inserts a segment and walks it to `status`.
pub fn bring(catalog: &dyn Catalog, mut row: SegmentRow, status: SegmentStatus) -> SegmentKey {
    let way = way_to(status);
    row.status = way[0];
    let key = row.key.clone();
    let mut mutations = vec![Mutation::InsertSegment(row)];
    mutations.extend(way.windows(2).map(|pair| step(&key, pair[0], pair[1])));
    apply(catalog, &mutations).unwrap();
    key
}
