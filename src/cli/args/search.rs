//! `icecore search`

use clap::{Args, ValueEnum};

use crate::search::{Condition, Metric};
use crate::types::CollectionName;

/// How near is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SearchMetric {
    /// The cosine of the angle: more is nearer, 1 at most
    Cosine,
    /// The dot product: more is nearer
    Dot,
    /// The Euclidean distance: less is nearer
    L2,
}

impl From<SearchMetric> for Metric {
    fn from(metric: SearchMetric) -> Self {
        match metric {
            SearchMetric::Cosine => Self::Cosine,
            SearchMetric::Dot => Self::Dot,
            SearchMetric::L2 => Self::L2,
        }
    }
}

/// `icecore search`
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  icecore --data /var/lib/log search docs --vector '[0.12, -0.5, 0.33]' --k 5
  icecore --data /var/lib/log search docs --vector @query.json --metric l2 --filter lang=en --filter author.name=Ada
  icecore --data /var/lib/log search docs --vector @query.json --json | jq -r .id

Every vector is compared, whether it is in the store's files or not yet: what was appended is found at once. Of each id the newest version \
counts; what is deleted or expired is not found. Works beside a writer.

A filter names a member of the metadata, or a path to it with dots. A text is compared by what it says, every other value by how it is \
written: page=7, draft=false.

With --json one object a hit: id, score, sequence, metadata.")]
pub struct SearchArgs {
    /// The collection
    pub collection: CollectionName,
    /// What to be near to: a JSON list of numbers, or @FILE with one; - behind the @ is stdin
    #[arg(long, value_name = "JSON|@FILE", allow_hyphen_values = true)]
    pub vector: String,
    /// How many to find at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub k: usize,
    /// Only vectors whose metadata has this; may be given several times, and then all must be met
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Condition>,
    /// How near is measured
    #[arg(long, value_enum, default_value_t = SearchMetric::Cosine)]
    pub metric: SearchMetric,
}
