//! What tests need of the library: rules that can be broken on purpose.

#[cfg(any(test, feature = "testing"))]
pub mod faulty_store;
#[cfg(any(test, feature = "testing"))]
mod forgetful;

#[cfg(any(test, feature = "testing"))]
pub(crate) use forgetful::without_directory_sync;

/// A rule broken on purpose, to show that the crash suite would notice. In a build without tests nothing can be
/// broken: every question answers "no", and costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    #[cfg(any(test, feature = "testing"))]
    rule: Option<Rule>,
}

/// A rule that can be broken.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Sync before acknowledging.
    SyncBeforeAcknowledging,
    /// A failed sync poisons (J7).
    FailedSyncPoisons,
    /// Rotation syncs the old journal (D2).
    RotationSyncs,
    /// Names are made durable by syncing their directory (D3).
    DirectorySync,
    /// A journal is released after the rows are committed (R1).
    RowBeforeRelease,
    /// A journal of an earlier run is never appended to (J4).
    NewJournalAfterRestart,
    /// Sinks get only what a power cut cannot take (D1).
    DurableBeforeSinks,
    /// The catalog hears of a sink's cursor behind the sink.
    SinkBeforeCursor,
    /// A segment is flushed when the last of its sinks has it, not the first (C2).
    EverySinkBeforeFlushed,
    /// What replaces segments has its durable name before its row.
    ResultBeforeRow,
    /// What replaces segments answers for every sequence that they answered for (S2).
    ResultCovers,
    /// What a sink does not have is not compacted away (C2).
    SinksBeforeCompaction,
    /// A tombstone stays while something older may have its key (S2).
    TombstonesStay,
}

macro_rules! questions {
    ($($(#[$doc:meta])* $name:ident => $rule:ident;)*) => {
        impl Sabotage {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(self) -> bool {
                #[cfg(any(test, feature = "testing"))]
                {
                    self.rule == Some(Rule::$rule)
                }
                #[cfg(not(any(test, feature = "testing")))]
                {
                    false
                }
            })*
        }
    };
}

questions! {
    /// Whether appends are acknowledged before their sync.
    acknowledges_before_sync => SyncBeforeAcknowledging;
    /// Whether a failed sync is taken for a good one.
    ignores_failed_sync => FailedSyncPoisons;
    /// Whether rotation leaves the old journal unsynced.
    rotates_without_sync => RotationSyncs;
    /// Whether directories are not synced.
    skips_directory_sync => DirectorySync;
    /// Whether journals are released before the rows are committed.
    releases_before_row => RowBeforeRelease;
    /// Whether a journal of an earlier run is appended to.
    appends_to_old_journal => NewJournalAfterRestart;
    /// Whether sinks get what is not durable.
    delivers_what_is_not_durable => DurableBeforeSinks;
    /// Whether the catalog hears of a cursor before the sink has the records.
    tells_before_sink => SinkBeforeCursor;
    /// Whether the first sink that has a segment makes it flushed.
    flushes_by_first_sink => EverySinkBeforeFlushed;
    /// Whether the row of a compacted segment comes before its file.
    commits_before_result => ResultBeforeRow;
    /// Whether a compacted segment leaves out what was removed at its end.
    leaves_end_uncovered => ResultCovers;
    /// Whether compaction takes what sinks do not have.
    compacts_before_sinks => SinksBeforeCompaction;
    /// Whether compaction removes tombstones that still hide something.
    drops_tombstones => TombstonesStay;
}

#[cfg(any(test, feature = "testing"))]
impl Sabotage {
    /// Breaks one rule.
    #[must_use]
    pub const fn of(rule: Rule) -> Self {
        Self { rule: Some(rule) }
    }
}
