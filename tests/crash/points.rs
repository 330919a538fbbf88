//! Names for the places at which a power cut may come, and how often it came there.

use std::collections::BTreeMap;
use std::path::Path;

use icecore::fs::simulated::{Operation, OperationKind};

use crate::stored::PLACE;

/// Every place at which the suite must have cut the power, or it did not test what it says.
pub const NAMED: [&str; 52] = [
    "directory: create directory",
    "directory: sync directory",
    "lock: lock",
    "identity: create",
    "identity: write",
    "identity: sync all",
    "identity: replace",
    "identity: sync directory",
    "journal: make",
    "journal: preallocate",
    "journal: prepare header",
    "journal: prepare marker",
    "journal: sync header",
    "journal: rename",
    "journal: sync directory",
    "journal: write group",
    "journal: sync",
    "journal: cut to length",
    "journal: sync length",
    "free: rename",
    "free: zero header",
    "free: sync header",
    "free: remove journal",
    "cold: create",
    "cold: write",
    "cold: sync all",
    "cold: rename",
    "cold: remove",
    "seal: create",
    "seal: write",
    "seal: sync all",
    "seal: create directory",
    "seal: rename",
    "seal: sync directory",
    "quarantine: create",
    "quarantine: write",
    "quarantine: sync all",
    "quarantine: rename",
    "quarantine: sync directory",
    "catalog: commit",
    "recovery: identity: replace",
    "recovery: journal: sync",
    "recovery: journal: rename",
    "recovery: journal: write group",
    "recovery: free: rename",
    "recovery: free: zero header",
    "recovery: cold: sync data",
    "recovery: seal: sync all",
    "recovery: seal: sync directory",
    "recovery: seal: remove",
    "recovery: quarantine: rename",
    "recovery: catalog: commit",
];

/// The same for runs with sinks and compaction.
pub const STORED: [&str; 17] = [
    "sink: create directory",
    "sink: create",
    "sink: write",
    "sink: sync data",
    "sink: sync directory",
    "cursor: create",
    "cursor: write",
    "cursor: sync all",
    "cursor: replace",
    "compact: create",
    "compact: write",
    "compact: sync all",
    "compact: rename",
    "seal: remove",
    "catalog: commit",
    "recovery: seal: remove",
    "recovery: compact: remove",
];

/// How often each point was a cut.
#[derive(Debug, Default)]
pub struct Points(pub BTreeMap<String, u64>);

impl Points {
    pub fn add(&mut self, name: String) {
        *self.0.entry(name).or_default() += 1;
    }

    pub fn merge(&mut self, other: Self) {
        for (name, count) in other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }
}

/// The name of the place before an operation.
pub fn name(operation: &Operation, in_recovery: bool) -> String {
    let name = match &operation.to {
        Some(to) => renaming(operation, to),
        None => changing(operation),
    };
    if in_recovery { format!("recovery: {name}") } else { name }
}

fn renaming(operation: &Operation, to: &Path) -> String {
    match (role(&operation.path), role(to)) {
        ("free", "journal") => "journal: rename".into(),
        ("journal", "free") => "free: rename".into(),
        ("cold", "cold") => "cold: rename".into(),
        ("seal", "segment") => "seal: rename".into(),
        ("compact", "segment") => "compact: rename".into(),
        ("cursor", "cursor") => "cursor: replace".into(),
        ("identity", "identity") => "identity: replace".into(),
        (_, "quarantine") => "quarantine: rename".into(),
        (from, to) => format!("{from} to {to}: {}", operation.kind.label()),
    }
}

fn changing(operation: &Operation) -> String {
    use OperationKind as Kind;
    let role = role(&operation.path);
    let name = match (role, operation.kind) {
        ("free", Kind::Create) => "journal: make",
        ("free", Kind::Preallocate) => "journal: preallocate",
        ("free", Kind::Write) => match operation.range {
            Some((0, 4096)) => "free: zero header",
            Some((0, _)) => "journal: prepare header",
            _ => "journal: prepare marker",
        },
        ("free", Kind::SyncAll) => "journal: sync header",
        ("free", Kind::SyncData) => "free: sync header",
        ("journal", Kind::Write) => "journal: write group",
        ("journal", Kind::SyncData) => "journal: sync",
        ("journal", Kind::SetLen) => "journal: cut to length",
        ("journal", Kind::SyncAll) => "journal: sync length",
        ("journal", Kind::RemoveFile) => "free: remove journal",
        ("segment", kind) => return format!("seal: {}", kind.label()),
        (_, kind) => return format!("{role}: {}", kind.label()),
    };
    name.into()
}

/// What a path is for.
fn role(path: &Path) -> &'static str {
    let text = path.to_string_lossy();
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    if text.starts_with(PLACE) {
        if file.starts_with("cursor") { "cursor" } else { "sink" }
    } else if text.contains("/quarantine") {
        "quarantine"
    } else if file.starts_with("compact-") {
        "compact"
    } else if text.contains("/staging/") {
        "seal"
    } else if text.contains("/.icecore/lock") {
        "lock"
    } else if text.contains("/.icecore") {
        "identity"
    } else if file.starts_with("free-") || file.starts_with("new-") {
        "free"
    } else if file.starts_with("cold-") {
        "cold"
    } else if text.contains("/.journal") {
        "journal"
    } else if path.components().count() > 2 {
        "segment"
    } else {
        "directory"
    }
}
