//! What is asked, and what is answered.

use super::filter::Condition;
use super::kernel;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Sequence;
use crate::vector::DIMENSIONS_MAX;

/// The most neighbours that a query may ask for.
pub const K_MAX: usize = 10_000;

/// How near is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The cosine of the angle, from -1 to 1; more is nearer. A vector of norm 0 has none and is never found.
    #[default]
    Cosine,
    /// The dot product; more is nearer.
    Dot,
    /// The Euclidean distance; less is nearer.
    L2,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 3] = [Self::Cosine, Self::Dot, Self::L2];

    /// Its name: `cosine`, `dot`, `l2`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::L2 => "l2",
        }
    }

    /// From rank, of which more is nearer, to score.
    pub(super) fn score(self, rank: f64) -> f64 {
        match self {
            Self::Cosine => rank.clamp(-1.0, 1.0),
            Self::Dot => rank,
            Self::L2 => (-rank).max(0.0).sqrt(),
        }
    }
}

/// A search for the nearest vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What they shall be near to: finite numbers.
    pub vector: Vec<f32>,
    /// How many are wanted, from 1 to [`K_MAX`].
    pub k: usize,
    /// How near is measured.
    pub metric: Metric,
    /// What their metadata must meet, all of it.
    pub filter: Vec<Condition>,
}

impl Query {
    /// The `k` nearest by cosine.
    #[must_use]
    pub fn new(vector: impl Into<Vec<f32>>, k: usize) -> Self {
        Self { vector: vector.into(), k, metric: Metric::default(), filter: Vec::new() }
    }

    /// Sets how near is measured.
    #[must_use]
    pub fn by(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Adds a condition.
    #[must_use]
    pub fn filtered(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.filter.push(Condition { name: name.into(), value: value.into() });
        self
    }

    /// Whether it can be answered.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub fn check(&self) -> Result<()> {
        Prepared::new(self).map(drop)
    }
}

/// A vector that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its id: the record's key.
    pub id: String,
    /// How near, by the query's metric: see [`Metric`].
    pub score: f64,
    /// The record's sequence.
    pub sequence: Sequence,
    /// What is known of it: a JSON object as text.
    pub metadata: String,
}

/// What a query found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The nearest first; of equally near ones, the older record first.
    pub hits: Vec<Hit>,
    /// The moment that the answer shows: every record up to here, none behind.
    pub through: Sequence,
    /// What it took.
    pub statistics: Statistics,
}

/// What a query took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Statistics {
    /// Vectors compared with the query's.
    pub vectors_compared: u64,
    /// Newest versions that are vectors of another dimension, and were passed over. In files: those that are not live count too.
    pub other_dimensions: u64,
    /// Vectors that have no score by this metric: of norm 0, by cosine.
    pub without_score: u64,
    /// Files of the store.
    pub files: u64,
    /// Row groups of these files.
    pub groups: u64,
    /// Row groups whose vectors were in memory.
    pub groups_cached: u64,
    /// Records that count and that the store does not have yet, vectors or not.
    pub tail_rows: u64,
    /// Bytes read from the store's files.
    pub bytes_read: u64,
}

impl Statistics {
    /// Adds what another thread did.
    pub(super) fn add(&mut self, other: &Self) {
        self.vectors_compared += other.vectors_compared;
        self.other_dimensions += other.other_dimensions;
        self.without_score += other.without_score;
        self.files += other.files;
        self.groups += other.groups;
        self.groups_cached += other.groups_cached;
        self.tail_rows += other.tail_rows;
        self.bytes_read += other.bytes_read;
    }
}

/// A query that can be answered.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    /// The query's vector; by cosine, with norm 1.
    pub vector: Vec<f32>,
    pub k: usize,
    pub metric: Metric,
    pub filter: &'a [Condition],
}

impl<'a> Prepared<'a> {
    pub fn new(query: &'a Query) -> Result<Self> {
        let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
        if query.vector.is_empty() || query.vector.len() > DIMENSIONS_MAX {
            let dimensions = query.vector.len();
            return invalid(format!(
                "a query's vector has too few or too many dimensions: dimensions=`{dimensions}`, limit=`{DIMENSIONS_MAX}`"
            ));
        }
        if let Some(at) = query.vector.iter().position(|value| !value.is_finite()) {
            let value = query.vector[at];
            return invalid(format!(
                "a query's vector has a number that is not finite as f32: at=`{at}`, value=`{value}`"
            ));
        }
        if query.k == 0 || query.k > K_MAX {
            return invalid(format!("as many neighbours cannot be searched for: k=`{}`, limit=`{K_MAX}`", query.k));
        }
        let vector = match query.metric {
            Metric::Cosine => match kernel::normalised(&query.vector) {
                Some(vector) => vector,
                None => {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        "a query's vector has norm 0, and no angle to any other",
                    )
                    .with_hint("search by `dot` or `l2`"));
                }
            },
            Metric::Dot | Metric::L2 => query.vector.clone(),
        };
        Ok(Self { vector, k: query.k, metric: query.metric, filter: &query.filter })
    }

    /// How near a vector is; more is nearer. No number where there is no such thing.
    #[inline]
    pub fn rank(&self, vector: &[f32], norm: f64) -> f64 {
        match self.metric {
            Metric::Cosine => kernel::dot(&self.vector, vector) / norm,
            Metric::Dot => kernel::dot(&self.vector, vector),
            Metric::L2 => -kernel::distance_squared(&self.vector, vector),
        }
    }
}
