//! The four passes over a group, whoever keeps its records: segments of the log, files of a sink.

use std::ops::Range;

use super::plan::{Judged, outputs};
use super::policy::{Moment, Reason, Removed, Seen};
use super::versions::{Fate, KEY_BYTES_MAX, Part, TooManyKeys, Versions};

/// More parts than this are not tried: a file of the largest size has fewer keys in each.
const PARTS_MAX: u64 = 1 << 12;

/// A group, and what surrounds it, as whoever keeps them reads them. A member is a segment or a file of the group.
pub trait Neighbours {
    /// Why a pass did not come to its end.
    type Stop;

    /// Whether nothing of the first `members` can go, as far as that is known without reading them.
    ///
    /// # Errors
    /// Why it could not be told.
    fn is_quiet(&mut self, members: usize) -> Result<bool, Self::Stop>;

    /// Passes 1 and 4: calls `each` with every record of a member, in order, and its bytes, until it answers no.
    ///
    /// # Errors
    /// Why not all of them could be read.
    fn each(&mut self, member: usize, each: &mut dyn FnMut(&Seen<'_>, u64) -> bool) -> Result<(), Self::Stop>;

    /// Pass 2: tells of the versions behind the first `members` of the group.
    ///
    /// # Errors
    /// As [`each`](Self::each).
    fn newer(&mut self, members: usize, versions: &mut Versions) -> Result<(), Self::Stop>;

    /// Pass 3: tells which keys what lies before the group may have.
    ///
    /// # Errors
    /// As [`each`](Self::each).
    fn older(&mut self, versions: &mut Versions) -> Result<(), Self::Stop>;
}

/// Which records of a member go.
#[derive(Clone, Debug)]
pub struct Fates {
    /// A bit for each record, in order.
    gone: Vec<u64>,
    records: u64,
    bytes: u64,
    bytes_kept: u64,
    removed: Removed,
}

impl Fates {
    /// Of a member with so many records and bytes: all stay.
    #[must_use]
    pub fn new(records: u64, bytes: u64) -> Self {
        let words = usize::try_from(records.div_ceil(64)).expect("a file's records are counted in memory");
        Self { gone: vec![0; words], records, bytes, bytes_kept: bytes, removed: Removed::default() }
    }

    fn clear(&mut self) {
        self.gone.fill(0);
        (self.bytes_kept, self.removed) = (self.bytes, Removed::default());
    }

    fn goes(&mut self, place: usize, bytes: u64, reason: Reason) {
        self.gone[place / 64] |= 1 << (place % 64);
        self.removed.count(reason);
        self.bytes_kept = self.bytes_kept.saturating_sub(bytes);
    }

    /// Whether the record in a place goes.
    #[must_use]
    pub fn is_gone(&self, place: usize) -> bool {
        self.gone[place / 64] & (1 << (place % 64)) != 0
    }

    /// Records that go.
    #[must_use]
    pub const fn removed(&self) -> Removed {
        self.removed
    }

    /// How many records stay.
    #[must_use]
    pub const fn kept(&self) -> u64 {
        self.records - self.removed.total()
    }

    /// What of so many bytes of its file is left, about.
    #[must_use]
    pub fn bytes_expected(&self, bytes: u64) -> u64 {
        let left = u128::from(bytes) * u128::from(self.bytes_kept) / u128::from(self.bytes.max(1));
        u64::try_from(left).unwrap_or(bytes)
    }

    fn judged(&self) -> Judged {
        let Self { bytes, bytes_kept, records, .. } = *self;
        Judged { bytes, bytes_kept, records, removed: self.removed.total() }
    }
}

/// What becomes of a group.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Of each member, in order; fewer than were asked for, where the keys of all did not fit.
    pub fates: Vec<Fates>,
    /// Which of them become one each. What is in no range stays as it is.
    pub outputs: Vec<Range<usize>>,
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unjudged<S> {
    /// A pass ended early.
    Stop(S),
    /// One member alone has too many keys, however few are looked at together.
    TooManyKeys,
}

impl<S> From<S> for Unjudged<S> {
    fn from(stop: S) -> Self {
        Self::Stop(stop)
    }
}

/// Judges a group: which of its records go, and which of its members are worth writing anew for that, or merging (see [`outputs`]).
///
/// # Errors
/// See [`Unjudged`].
pub fn judge<N: Neighbours>(
    moment: Moment,
    group: &mut N,
    mut fates: Vec<Fates>,
    (target_bytes, gain_percent): (u64, u64),
) -> Result<Verdict, Unjudged<N::Stop>> {
    let mut parts = 1;
    let mut fixed = vec![false; fates.len()];
    loop {
        fates.iter_mut().for_each(Fates::clear);
        let of = if group.is_quiet(fates.len())? { 0 } else { parts };
        let mut fits = true;
        for number in 0..of {
            fits = judge_part(group, Versions::new(moment, Part { number, of }, KEY_BYTES_MAX), &mut fates, &fixed)?;
            if !fits {
                break;
            }
        }
        if !fits {
            match fates.len() {
                1 if parts < PARTS_MAX => parts *= 2,
                0 | 1 => return Err(Unjudged::TooManyKeys),
                many => {
                    fates.truncate(many - many / 2);
                    fixed.truncate(fates.len());
                }
            }
            continue;
        }
        let judged: Vec<Judged> = fates.iter().map(Fates::judged).collect();
        let outputs = outputs(&judged, target_bytes, gain_percent);
        // What is not worth writing anew stays whole; then what it hides, or what hides it, may have to stay too.
        let mut is_settled = true;
        for (at, judged) in judged.iter().enumerate() {
            if judged.removed > 0 && !outputs.iter().any(|output| output.contains(&at)) {
                fixed[at] = true;
                is_settled = false;
            }
        }
        if is_settled {
            return Ok(Verdict { fates, outputs });
        }
    }
}

/// The passes over one part; whether its keys fitted.
fn judge_part<N: Neighbours>(
    group: &mut N,
    mut versions: Versions,
    fates: &mut [Fates],
    fixed: &[bool],
) -> Result<bool, N::Stop> {
    for member in 0..fates.len() {
        let mut fits = Ok(());
        group.each(member, &mut |record, _| {
            fits = versions.note(record);
            fits.is_ok()
        })?;
        if fits == Err(TooManyKeys) {
            return Ok(false);
        }
    }
    if !versions.may_go() {
        return Ok(true);
    }
    if versions.wants_newer() {
        group.newer(fates.len(), &mut versions)?;
    }
    if versions.wants_older() {
        group.older(&mut versions)?;
    }
    versions.begin();
    for (member, (fates, is_fixed)) in fates.iter_mut().zip(fixed).enumerate() {
        let mut place = 0;
        group.each(member, &mut |record, bytes| {
            if let Some(Fate::Goes(reason)) = versions.decide(record, *is_fixed) {
                fates.goes(place, bytes, reason);
            }
            place += 1;
            true
        })?;
    }
    Ok(true)
}
