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
}

#[cfg(any(test, feature = "testing"))]
impl Sabotage {
    /// Breaks one rule.
    #[must_use]
    pub const fn of(rule: Rule) -> Self {
        Self { rule: Some(rule) }
    }
}
