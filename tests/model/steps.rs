//! What can be done to a log, and how it is drawn.

use icecore::avro::codec::Codec;
use icecore::testing::Sabotage;
use icecore::{ReadOptions, Sequence, SyncMode, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// How many collections there are.
pub const COLLECTIONS: usize = 4;

/// What a log is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub directories: usize,
    pub sync: SyncMode,
    pub codec: Codec,
    pub sabotage: Sabotage,
}

/// A record, but for its payload's bytes, which are unlike those of any other.
#[derive(Clone, Debug)]
pub struct Spec {
    pub key: Option<u8>,
    pub bytes: Option<usize>,
    pub timestamp: Option<i64>,
    pub expires_at: Option<i64>,
    pub headers: usize,
    pub delete: bool,
}

/// What an append expects of the next sequence.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    Nothing,
    Right,
    /// Off by so much.
    Wrong(u64),
}

#[derive(Clone, Debug)]
pub enum Step {
    Append { collection: usize, records: Vec<Spec>, sync: Option<SyncMode>, expect: Expect },
    AppendMany { batches: Vec<(usize, Vec<Spec>)>, sync: Option<SyncMode> },
    Delete { collection: usize, keys: Vec<u8> },
    Sync,
    Seal(Option<usize>),
    Maintain,
    Mode(SyncMode),
    Pause { seconds: u64 },
    Read { collection: usize, options: ReadOptions },
    Follow { collection: usize },
    Get { collection: usize, key: u8, now: i64 },
    Reopen,
    Kill,
    PowerCut { seed: u64 },
    Check,
}

fn mode() -> impl Strategy<Value = SyncMode> {
    prop_oneof![Just(SyncMode::PerBatch), Just(SyncMode::Always), Just(SyncMode::Periodic), Just(SyncMode::Never)]
}

pub fn setup() -> impl Strategy<Value = Setup> {
    let codec = prop_oneof![Just(Codec::Null), Just(Codec::DEFAULT), Just(Codec::Deflate { level: 6 })];
    (1..3_usize, mode(), codec).prop_map(|(directories, sync, codec)| Setup {
        directories,
        sync,
        codec,
        sabotage: Sabotage::default(),
    })
}

/// Times are small, so that they meet.
fn time() -> impl Strategy<Value = i64> {
    0..100_i64
}

fn spec() -> impl Strategy<Value = Spec> {
    let bytes = option::weighted(0.95, prop_oneof![3 => 0..60_usize, 2 => 0..1500_usize, 1 => 0..5000_usize]);
    (option::of(0..5_u8), bytes, option::of(time()), option::weighted(0.2, time()), 0..3_usize, any::<bool>()).prop_map(
        |(key, bytes, timestamp, expires_at, headers, delete)| {
            let delete = delete && key == Some(0);
            Spec { key, bytes, timestamp, expires_at, headers, delete }
        },
    )
}

fn read_options() -> impl Strategy<Value = ReadOptions> {
    let sequence = || option::of((0..60_u64).prop_map(Sequence));
    let time = || option::weighted(0.2, time().prop_map(Timestamp));
    (sequence(), sequence(), time(), time(), option::of(0..30_u64), any::<bool>()).prop_map(
        |(from, until, from_time, until_time, limit, reverse)| ReadOptions {
            from,
            until,
            from_time,
            until_time,
            limit,
            reverse,
            ..ReadOptions::default()
        },
    )
}

pub fn step() -> impl Strategy<Value = Step> {
    let collection = || 0..COLLECTIONS;
    let expect = prop_oneof![
        6 => Just(Expect::Nothing),
        1 => Just(Expect::Right),
        1 => (1..5_u64).prop_map(Expect::Wrong),
    ];
    let append = (collection(), vec(spec(), 0..6), option::weighted(0.2, mode()), expect)
        .prop_map(|(collection, records, sync, expect)| Step::Append { collection, records, sync, expect });
    let many = (vec((collection(), vec(spec(), 1..4)), 0..5), option::weighted(0.2, mode()))
        .prop_map(|(batches, sync)| Step::AppendMany { batches, sync });
    prop_oneof![
        40 => append,
        8 => many,
        4 => (collection(), vec(0..5_u8, 1..3)).prop_map(|(collection, keys)| Step::Delete { collection, keys }),
        3 => Just(Step::Sync),
        3 => collection().prop_map(|collection| Step::Seal(Some(collection))),
        1 => Just(Step::Seal(None)),
        8 => Just(Step::Maintain),
        3 => mode().prop_map(Step::Mode),
        2 => prop_oneof![Just(1), Just(90_000)].prop_map(|seconds| Step::Pause { seconds }),
        8 => (collection(), read_options()).prop_map(|(collection, options)| Step::Read { collection, options }),
        8 => collection().prop_map(|collection| Step::Follow { collection }),
        6 => (collection(), 0..5_u8, time()).prop_map(|(collection, key, now)| Step::Get { collection, key, now }),
        3 => Just(Step::Reopen),
        2 => Just(Step::Kill),
        4 => any::<u64>().prop_map(|seed| Step::PowerCut { seed }),
        1 => Just(Step::Check),
    ]
}
