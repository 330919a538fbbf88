//! What a salvage found, for people: of `restore --salvage` and `catalog rebuild --from-archive --salvage`.

use crate::archive::Salvage;
use crate::cli::human;

/// Whether anything is unknown, or did not come back.
pub(super) fn is_damaged(salvage: &Salvage) -> bool {
    salvage.unknown().next().is_some() || !salvage.left_out.is_empty()
}

pub(super) fn render(salvage: &Salvage) -> String {
    let mut text = String::new();
    if !salvage.unreadable.is_empty() {
        text.push_str("\nmanifests that cannot be read:\n");
        for found in &salvage.unreadable {
            let home = found.remote.as_ref().map(|remote| format!(" of {remote}")).unwrap_or_default();
            let numbers = if found.first == found.last {
                format!("manifest {}{home}", found.first)
            } else {
                format!("manifests {} to {}{home}", found.first, found.last)
            };
            let cost = if found.is_told_anew {
                "a checkpoint behind it tells everything anew"
            } else {
                "what only it told (floors, settings, holds, gaps, removals) is unknown"
            };
            text.push_str(&human::item(1, &format!("{numbers}: {cost}: {}", found.reason)));
        }
    }
    if !salvage.unnamed.is_empty() {
        text.push_str("\nnamed by no manifest that can be read, proven by themselves, and restored:\n");
        for found in &salvage.unnamed {
            let range = format!("{} {}..={}", found.collection, found.first_sequence, found.last_sequence);
            text.push_str(&human::item(1, &range));
        }
    }
    if !salvage.left_out.is_empty() {
        text.push_str("\nnot restored:\n");
        for found in &salvage.left_out {
            text.push_str(&human::item(1, &format!("{}: {}", found.key, found.reason)));
        }
    }
    text
}
