//! Which keys a segment may hold: the lowest, the highest, and a filter (F2).
//!
//! Owns: XXH64, the split-block Bloom filter of the Parquet specification ("Parquet Bloom Filter", sections 1 and 3),
//! and the bounds. The filter never denies a key that is there; of keys that are not there it lets about one in a
//! hundred pass.

use bytes::Bytes;

/// A bound longer than this is cut: the lower one down, the upper one up.
pub const BOUND_BYTES_MAX: usize = 64;
/// Bits of filter per distinct key.
const BITS_PER_KEY: usize = 10;
/// Bytes of one filter block: eight words of 32 bits.
const FILTER_BLOCK_BYTES: usize = 32;

/// What a segment's footer says of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Records that have a key.
    pub records: u64,
    /// No key is below it.
    pub min: Bytes,
    /// No key is above it; `None` where every string of 64 bytes is below the highest key.
    pub max: Option<Bytes>,
    /// The filter: a multiple of 32 bytes, little-endian words.
    pub filter: Bytes,
}

impl Keys {
    /// Whether a record with `key` may be there. `false` is certain.
    #[must_use]
    pub fn may_hold(&self, key: &[u8]) -> bool {
        *key >= *self.min
            && self.max.as_ref().is_none_or(|max| *key <= **max)
            && filter_has(&self.filter, xxh64(key, 0))
    }
}

/// Gathers a segment's keys as they are written. Holds 8 bytes for each distinct key.
#[derive(Clone, Debug, Default)]
pub struct KeysBuilder {
    records: u64,
    min: Vec<u8>,
    max: Vec<u8>,
    hashes: Vec<u64>,
    /// At this many hashes, repeated ones are dropped.
    sweep_at: usize,
}

impl KeysBuilder {
    /// And one more key.
    pub fn add(&mut self, key: &[u8]) {
        if self.records == 0 || *key < *self.min {
            self.min.clear();
            self.min.extend_from_slice(key);
        }
        if self.records == 0 || *key > *self.max {
            self.max.clear();
            self.max.extend_from_slice(key);
        }
        self.records += 1;
        if self.hashes.len() >= self.sweep_at {
            self.sweep();
            self.sweep_at = (2 * self.hashes.len()).max(1 << 16);
        }
        self.hashes.push(xxh64(key, 0));
    }

    fn sweep(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
    }

    /// What the footer says; `None` where no record had a key.
    #[must_use]
    pub fn finish(mut self) -> Option<Keys> {
        if self.records == 0 {
            return None;
        }
        self.sweep();
        let blocks = (self.hashes.len() * BITS_PER_KEY).div_ceil(FILTER_BLOCK_BYTES * 8);
        let mut filter = vec![0; blocks * FILTER_BLOCK_BYTES];
        for hash in self.hashes {
            filter_add(&mut filter, hash);
        }
        self.min.truncate(BOUND_BYTES_MAX);
        Some(Keys {
            records: self.records,
            min: self.min.into(),
            max: upper_bound(self.max).map(Bytes::from),
            filter: filter.into(),
        })
    }
}

/// The key itself, or the lowest string of at most 64 bytes that is above it.
fn upper_bound(mut key: Vec<u8>) -> Option<Vec<u8>> {
    if key.len() <= BOUND_BYTES_MAX {
        return Some(key);
    }
    key.truncate(BOUND_BYTES_MAX);
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            return Some(key);
        }
    }
    None
}

/// The odd constants of the Parquet specification, one for each word of a block.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// Where a hash's block starts, and the bit that it has in each of the block's words.
fn filter_place(filter_bytes: usize, hash: u64) -> (usize, [u32; 8]) {
    let blocks = (filter_bytes / FILTER_BLOCK_BYTES) as u64;
    let block = ((hash >> 32) * blocks) >> 32;
    let low = hash as u32;
    (block as usize * FILTER_BLOCK_BYTES, SALT.map(|salt| 1 << (low.wrapping_mul(salt) >> 27)))
}

fn filter_add(filter: &mut [u8], hash: u64) {
    let (at, bits) = filter_place(filter.len(), hash);
    for (word, bit) in filter[at..at + FILTER_BLOCK_BYTES].chunks_exact_mut(4).zip(bits) {
        for (byte, set) in word.iter_mut().zip(bit.to_le_bytes()) {
            *byte |= set;
        }
    }
}

fn filter_has(filter: &[u8], hash: u64) -> bool {
    if filter.len() < FILTER_BLOCK_BYTES {
        return true; // no filter denies nothing
    }
    let (at, bits) = filter_place(filter.len(), hash);
    filter[at..at + FILTER_BLOCK_BYTES]
        .chunks_exact(4)
        .zip(bits)
        .all(|(word, bit)| word.iter().zip(bit.to_le_bytes()).all(|(byte, set)| byte & set == set))
}

const PRIME_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME_3: u64 = 0x1656_67b1_9e37_79f9;
const PRIME_4: u64 = 0x85eb_ca77_c2b2_ae63;
const PRIME_5: u64 = 0x27d4_eb2f_1656_67c5;

/// XXH64 ("xxHash fast digest algorithm", version 0.1.1).
#[must_use]
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes"));
    let round =
        |lane: u64, input: u64| lane.wrapping_add(input.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1);
    let mut stripes = bytes.chunks_exact(32);
    let mut hash = if bytes.len() < 32 {
        seed.wrapping_add(PRIME_5)
    } else {
        let mut lanes = [
            seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
            seed.wrapping_add(PRIME_2),
            seed,
            seed.wrapping_sub(PRIME_1),
        ];
        for stripe in &mut stripes {
            for (lane, input) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, word(input));
            }
        }
        let mixed =
            [1, 7, 12, 18].iter().zip(lanes).fold(0_u64, |sum, (&by, lane)| sum.wrapping_add(lane.rotate_left(by)));
        lanes.iter().fold(mixed, |hash, &lane| (hash ^ round(0, lane)).wrapping_mul(PRIME_1).wrapping_add(PRIME_4))
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let mut words = stripes.remainder().chunks_exact(8);
    for input in &mut words {
        hash = (hash ^ round(0, word(input))).rotate_left(27).wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
    }
    let mut rest = words.remainder();
    if let Some((half, after)) = rest.split_first_chunk::<4>() {
        let input = u64::from(u32::from_le_bytes(*half));
        hash = (hash ^ input.wrapping_mul(PRIME_1)).rotate_left(23).wrapping_mul(PRIME_2).wrapping_add(PRIME_3);
        rest = after;
    }
    for &byte in rest {
        hash = (hash ^ u64::from(byte).wrapping_mul(PRIME_5)).rotate_left(11).wrapping_mul(PRIME_1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys<'a>(all: impl IntoIterator<Item = &'a [u8]>) -> Option<Keys> {
        let mut builder = KeysBuilder::default();
        all.into_iter().for_each(|key| builder.add(key));
        builder.finish()
    }

    const XXH64_VECTORS: [(&str, u64, u64); 10] = [
        ("", 0, 0xef46_db37_51d8_e999),
        ("", 2_654_435_761, 0xac75_fda2_929b_17ef),
        ("a", 0, 0xd24e_c4f1_a98c_6e5b),
        ("a", 2_654_435_761, 0x393d_a8b7_8992_279b),
        ("1234", 0, 0xd831_6e61_d84f_6ba4),
        ("1234", 2_654_435_761, 0x7f47_1ef0_1e08_7927),
        ("12345678", 0, 0xd2d0_2f08_cf7c_fd4a),
        ("12345678", 2_654_435_761, 0xd077_6c50_6425_22a3),
        ("0123456789abcdef0123456789abcdefXYZ-tail", 0, 0xcc6e_995c_3ea5_8025),
        ("0123456789abcdef0123456789abcdefXYZ-tail", 2_654_435_761, 0x2cea_4731_b174_da50),
    ];

    #[test]
    fn xxh64_gives_the_known_values() {
        // From the reference C library, by its Python package.
        for (text, seed, hash) in XXH64_VECTORS {
            assert_eq!(xxh64(text.as_bytes(), seed), hash, "{text} {seed}");
        }
    }

    #[test]
    fn bounds_are_cut_outwards() {
        assert_eq!(keys([]), None);
        let exact = keys([&b"b"[..], b"a", b"c", b"a"]).unwrap();
        assert_eq!((exact.records, &exact.min[..], exact.max.as_deref()), (4, &b"a"[..], Some(&b"c"[..])));
        let long = [b'x'; 100];
        let cut = keys([&long[..]]).unwrap();
        assert_eq!(&cut.min[..], &long[..64]);
        assert_eq!(cut.max.as_deref(), Some(&[&long[..63], b"y"].concat()[..]));
        assert!(cut.may_hold(&long));
        let highest = keys([&[0xff; 65][..]]).unwrap();
        assert_eq!(highest.max, None);
        assert!(highest.may_hold(&[0xff; 65]));
        let carried = keys([&[&[1][..], &[0xff; 80]].concat()[..]]).unwrap();
        assert_eq!(carried.max.as_deref(), Some(&[2][..]));
        let empty = keys([&b""[..]]).unwrap();
        assert!(empty.may_hold(b"") && !empty.may_hold(b"a"));
    }

    #[test]
    fn the_filter_lets_few_strangers_pass() {
        let all: Vec<Vec<u8>> = (0..100_000_u32).map(|number| format!("key-{number}").into_bytes()).collect();
        let summary = keys(all.iter().chain(&all).map(Vec::as_slice)).unwrap();
        assert!(summary.filter.len() * 8 <= 1_000_256, "repeated keys count once: {}", summary.filter.len());
        assert!(all.iter().all(|key| summary.may_hold(key)));
        let passed = (0..100_000).filter(|number| summary.may_hold(format!("key-{number}x").as_bytes())).count();
        assert!(passed < 2_000, "{passed} of 100000");
    }

    proptest! {
        #[test]
        fn no_key_is_denied(all in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..200)) {
            let summary = keys(all.iter().map(Vec::as_slice)).unwrap();
            for key in &all {
                prop_assert!(summary.may_hold(key));
            }
        }
    }
}
