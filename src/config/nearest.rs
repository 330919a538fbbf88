//! Finds the word that was meant.

/// The candidate nearest to `word`, when one is near enough to be what was meant.
///
/// Near is a third of the word's letters wrong, or the same last part under another section (`record_bytes` for
/// `limits.record_bytes`).
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let last_part = |key: &str| key.rsplit('.').next().unwrap_or("").to_owned();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let mut steps = distance(word, candidate);
        if last_part(word) == last_part(candidate) {
            steps = steps.min(1);
        }
        if best.is_none_or(|(least, _)| steps < least) {
            best = Some((steps, candidate));
        }
    }
    let near_enough = (word.chars().count() / 3).max(2);
    best.filter(|(steps, _)| *steps <= near_enough).map(|(_, candidate)| candidate)
}

/// How many letters to add, remove, change or swap with a neighbour to make `b` of `a` (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    // Three rows of the table: two back, one back, and the one being filled.
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_steps() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("sync.mode", "sync.mode"), 0);
        assert_eq!(distance("snyc", "sync"), 1, "two neighbours swapped are one step");
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn finds_what_was_meant_and_nothing_far_off() {
        let keys = ["sync.mode", "sync.interval", "limits.record_bytes", "journal.bytes"];
        assert_eq!(nearest("sync.mod", keys), Some("sync.mode"));
        assert_eq!(nearest("snyc.mode", keys), Some("sync.mode"));
        assert_eq!(nearest("record_bytes", keys), Some("limits.record_bytes"));
        assert_eq!(nearest("colour", keys), None);
    }
}
