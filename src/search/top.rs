//! The best so many of many.
//!
//! Of equal ranks the older record comes first: the one with the smaller sequence. Sequences are given once, so there is one right answer,
//! in whatever order candidates are looked at, and on however many threads. What is no number has no rank and never enters.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A candidate.
#[derive(Clone, Copy, Debug)]
pub struct Ranked<P> {
    /// More is better. A number.
    pub rank: f64,
    /// The record's sequence.
    pub sequence: u64,
    /// Where it is.
    pub place: P,
}

impl<P> Ranked<P> {
    /// Better is greater.
    fn compare(&self, other: &Self) -> Ordering {
        self.rank.total_cmp(&other.rank).then(other.sequence.cmp(&self.sequence))
    }
}

impl<P> PartialEq for Ranked<P> {
    fn eq(&self, other: &Self) -> bool {
        self.compare(other).is_eq()
    }
}

impl<P> Eq for Ranked<P> {}

impl<P> PartialOrd for Ranked<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for Ranked<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(other)
    }
}

/// Keeps the best `k` of what it is given.
#[derive(Debug)]
pub struct Top<P> {
    k: usize,
    kept: BinaryHeap<Reverse<Ranked<P>>>,
}

impl<P> Top<P> {
    /// Keeps `k`.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self { k, kept: BinaryHeap::with_capacity(k.min(1024)) }
    }

    /// Whether such a candidate would be kept.
    #[inline]
    #[must_use]
    pub fn takes(&self, rank: f64, sequence: u64) -> bool {
        if self.kept.len() < self.k {
            return !rank.is_nan();
        }
        // False for what is no number, and where nothing is kept.
        self.kept
            .peek()
            .is_some_and(|Reverse(worst)| rank > worst.rank || (rank == worst.rank && sequence < worst.sequence))
    }

    /// Adds a candidate, where it is among the best so far.
    pub fn push(&mut self, candidate: Ranked<P>) {
        if !self.takes(candidate.rank, candidate.sequence) {
            return;
        }
        // -0.0 and 0.0 are one rank.
        let candidate = Ranked { rank: candidate.rank + 0.0, ..candidate };
        if self.kept.len() == self.k {
            self.kept.pop();
        }
        self.kept.push(Reverse(candidate));
    }

    /// Adds what another one kept.
    pub fn merge(&mut self, other: Self) {
        for Reverse(candidate) in other.kept {
            self.push(candidate);
        }
    }

    /// What was kept, best first.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Ranked<P>> {
        self.kept.into_sorted_vec().into_iter().map(|Reverse(candidate)| candidate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn top(k: usize, candidates: &[(f64, u64)]) -> Vec<(f64, u64)> {
        let mut top = Top::new(k);
        for (rank, sequence) in candidates {
            top.push(Ranked { rank: *rank, sequence: *sequence, place: () });
        }
        top.into_sorted().into_iter().map(|ranked| (ranked.rank, ranked.sequence)).collect()
    }

    #[test]
    fn of_equal_ranks_the_older_comes_first() {
        assert_eq!(top(2, &[(1.0, 9), (1.0, 3), (1.0, 5), (0.5, 1)]), [(1.0, 3), (1.0, 5)]);
        assert_eq!(top(2, &[(-0.0, 9), (0.0, 3), (-0.0, 1)]), [(0.0, 1), (0.0, 3)]);
    }

    #[test]
    fn what_is_no_number_never_enters() {
        let candidates = [(f64::NAN, 1), (-f64::NAN, 2), (f64::NEG_INFINITY, 3), (1.0, 4), (f64::NAN, 5)];
        assert_eq!(top(3, &candidates), [(1.0, 4), (f64::NEG_INFINITY, 3)]);
        assert_eq!(top(1, &candidates), [(1.0, 4)]);
        assert_eq!(top(0, &candidates), []);
    }

    proptest! {
        #[test]
        fn is_the_front_of_what_is_sorted(
            ranks in prop::collection::vec(0_i32..20, 0..60), k in 0_usize..12, cut in 0_usize..60
        ) {
            let all: Vec<(f64, u64)> = ranks.iter().zip(1..).map(|(rank, at)| (f64::from(*rank), at)).collect();
            let mut wanted = all.clone();
            wanted.sort_by(|one, two| two.0.total_cmp(&one.0).then(one.1.cmp(&two.1)));
            wanted.truncate(k);
            prop_assert_eq!(&top(k, &all), &wanted);
            let mut halves = [Top::new(k), Top::new(k)];
            for (at, (rank, sequence)) in all.into_iter().enumerate() {
                halves[usize::from(at < cut)].push(Ranked { rank, sequence, place: () });
            }
            let [mut one, other] = halves;
            one.merge(other);
            let merged: Vec<_> = one.into_sorted().into_iter().map(|ranked| (ranked.rank, ranked.sequence)).collect();
            prop_assert_eq!(merged, wanted);
        }
    }
}
