use proptest::prelude::*;

use super::*;

const IDS: [&str; 5] = ["0a1b2c3d", "11111111", "deadbeef", "00000000", "fffffffe"];

fn name(number: u64) -> CollectionName {
    CollectionName::new(&format!("collection-{number}")).unwrap()
}

fn empty(ids: &[&'static str]) -> Vec<Candidate<'static>> {
    ids.iter().map(|id| Candidate { id, ..Candidate::default() }).collect()
}

/// Puts `names` one after another, and returns how many each got.
fn place(policy: Policy, names: std::ops::Range<u64>, candidates: &mut [Candidate<'_>]) -> Vec<u64> {
    for number in names {
        let index = choose(policy, &name(number), candidates).unwrap();
        candidates[index].collections += 1;
        candidates[index].empty += 1;
    }
    candidates.iter().map(|candidate| candidate.collections).collect()
}

#[test]
fn ten_collections_on_four_directories() {
    assert_eq!(place(Policy::RoundRobin, 0..10, &mut empty(&IDS[..4])), [3, 3, 2, 2]);
    assert_eq!(place(Policy::LeastUsed, 0..10, &mut empty(&IDS[..4])), [3, 3, 2, 2], "nothing has bytes yet");
}

#[test]
fn a_thousand_collections_on_four_directories() {
    assert_eq!(place(Policy::RoundRobin, 0..1000, &mut empty(&IDS[..4])), [250; 4]);
    for share in place(Policy::Hash, 0..1000, &mut empty(&IDS[..4])) {
        assert!((200..=300).contains(&share), "{share}");
    }
}

#[test]
fn an_added_directory_catches_up() {
    let mut candidates = empty(&IDS[..4]);
    candidates[0].collections = 7;
    candidates[1].collections = 7;
    candidates[2].collections = 6;
    assert_eq!(place(Policy::RoundRobin, 0..6, &mut candidates), [7, 7, 6, 6]);
    assert_eq!(place(Policy::RoundRobin, 6..10, &mut candidates), [8, 8, 7, 7]);
}

#[test]
fn nothing_is_chosen_from_nothing() {
    for policy in Policy::ALL {
        assert_eq!(choose(policy, &name(1), &[]), None);
        assert_eq!(choose(policy, &name(1), &empty(&IDS[..1])), Some(0));
    }
}

/// Assignments were made by these numbers, and must be found again by any later version.
#[test]
fn weights_are_those_of_released_versions() {
    // printf '%s\0%s' 0a1b2c3d orders | sha256sum
    assert_eq!(hash::weight("0a1b2c3d", &CollectionName::new("orders").unwrap()), 0x6b10_ab80_0aae_5a33);
    assert_eq!(hash::weight("deadbeef", &CollectionName::new("日本語").unwrap()), 0xd910_3eb4_1c1d_8088);
    let chosen: Vec<_> = (0..12).map(|number| choose(Policy::Hash, &name(number), &empty(&IDS)).unwrap()).collect();
    assert_eq!(chosen, [3, 1, 1, 2, 4, 3, 4, 4, 0, 3, 4, 2]);
}

#[test]
fn least_used_counts_an_empty_collection_as_the_mean_of_the_others() {
    let full = |id, collections, bytes| Candidate { id, collections, bytes, ..Candidate::default() };
    // 10 bytes on average: two new ones make the second as full as the first.
    let mut candidates = vec![full("a", 4, 40), full("b", 2, 20)];
    assert_eq!(place(Policy::LeastUsed, 0..2, &mut candidates), [4, 4]);
    assert_eq!(place(Policy::LeastUsed, 2..3, &mut candidates), [5, 4], "of equals, the first");
    assert_eq!(place(Policy::LeastUsed, 3..4, &mut candidates), [5, 5]);
    // Many small ones weigh less than one large one.
    let candidates = [full("a", 1, 1000), full("b", 90, 900)];
    assert_eq!(choose(Policy::LeastUsed, &name(0), &candidates), Some(1));
    assert_eq!(choose(Policy::RoundRobin, &name(0), &candidates), Some(0));
    let huge = [full("a", 1, u64::MAX), Candidate { empty: u64::MAX, ..full("b", u64::MAX, 0) }];
    assert_eq!(choose(Policy::LeastUsed, &name(0), &huge), Some(0), "no sum overflows");
}

#[test]
fn least_used_leaves_out_a_directory_with_little_room() {
    let with = |id, bytes, free_bytes| Candidate { id, collections: 1, bytes, free_bytes, ..Candidate::default() };
    let choice = |first, second| {
        choose(Policy::LeastUsed, &name(0), &[with("a", 0, first), with("b", 1 << 40, second)]).unwrap()
    };
    assert_eq!(choice(Some(100), Some(100)), 0);
    assert_eq!(choice(Some(25), Some(100)), 0, "a quarter is enough");
    assert_eq!(choice(Some(24), Some(100)), 1, "less than a quarter is not");
    assert_eq!(choice(Some(0), Some(1)), 1);
    assert_eq!(choice(Some(0), Some(0)), 0, "none has room: as if all had");
    assert_eq!(choice(None, Some(100)), 0, "unknown is not little");
    assert_eq!(choice(Some(24), None), 0);
    // The others do not look at room.
    let candidates = [with("a", 0, Some(0)), with("b", 0, Some(100))];
    assert_eq!(choose(Policy::RoundRobin, &name(0), &candidates), Some(0));
}

#[test]
fn words_are_read_and_written() {
    for (policy, word) in Policy::ALL.into_iter().zip(["round-robin", "hash", "least-used"]) {
        assert_eq!(policy.to_string(), word);
        assert_eq!(word.parse(), Ok(policy));
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(json, format!("\"{word}\""));
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    }
    let error = "Round-Robin".parse::<Policy>().unwrap_err();
    assert_eq!(error, "no placement policy: policy=`Round-Robin`, policies=`round-robin, hash, least-used`");
    assert!(serde_json::from_str::<Policy>("\"any\"").is_err());
    assert_eq!(Policy::default(), Policy::RoundRobin);
}

proptest! {
    /// From any beginning, the next collection goes to one with the fewest; at the end no two of those that got any differ
    /// by more than one.
    #[test]
    fn round_robin_levels(before in prop::collection::vec(0_u64..40, 1..9), more in 0_u64..200) {
        let mut candidates: Vec<_> =
            before.iter().map(|&collections| Candidate { collections, ..Candidate::default() }).collect();
        let after = place(Policy::RoundRobin, 0..more, &mut candidates);
        prop_assert_eq!(after.iter().sum::<u64>(), before.iter().sum::<u64>() + more);
        let fewest = *after.iter().min().unwrap();
        for (before, after) in before.iter().zip(&after) {
            prop_assert!(after == before || *after <= fewest + 1, "{:?}", candidates);
        }
    }

    /// The order of directories means nothing; one that goes gives away only its own, one that comes takes only for itself.
    #[test]
    fn hash_moves_only_what_it_must(
        ids in prop::collection::hash_set("[0-9a-f]{8}", 2..9),
        rotate in 0_usize..9,
        gone in any::<prop::sample::Index>(),
        from in 0_u64..1_000_000,
    ) {
        let all: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut turned = all.clone();
        turned.rotate_left(rotate % all.len());
        let gone = all[gone.index(all.len())];
        let fewer: Vec<&str> = all.iter().copied().filter(|id| *id != gone).collect();
        let chosen = |ids: &[&str], number| {
            let candidates: Vec<_> = ids.iter().map(|id| Candidate { id, ..Candidate::default() }).collect();
            ids[choose(Policy::Hash, &name(number), &candidates).unwrap()].to_owned()
        };
        for number in from..from + 50 {
            let of_all = chosen(&all, number);
            prop_assert_eq!(&chosen(&turned, number), &of_all);
            let of_fewer = chosen(&fewer, number);
            prop_assert!(of_fewer == of_all || of_all == gone);
        }
    }

    /// It never takes a directory with less room than a quarter of the most, and of those left one with the fewest bytes.
    #[test]
    fn least_used_keeps_its_word(
        figures in prop::collection::vec((0_u64..5, 0_u64..5, 0_u64..1000, prop::option::of(0_u64..1000)), 1..6),
    ) {
        let candidates: Vec<_> = figures
            .iter()
            .map(|&(empty, others, bytes, free_bytes)| Candidate {
                id: "",
                collections: empty + others,
                empty,
                bytes: if others == 0 { 0 } else { bytes },
                free_bytes,
            })
            .collect();
        let chosen = &candidates[choose(Policy::LeastUsed, &name(0), &candidates).unwrap()];
        let most = candidates.iter().filter_map(|candidate| candidate.free_bytes).max().unwrap_or(0);
        prop_assert!(chosen.free_bytes.is_none_or(|free| free * TIGHT >= most));
        let mean = mean_bytes(&candidates);
        let load = |candidate: &Candidate<'_>| candidate.bytes + candidate.empty * mean;
        for other in candidates.iter().filter(|other| other.free_bytes.is_none_or(|free| free * TIGHT >= most)) {
            prop_assert!(load(chosen) <= load(other));
        }
    }
}
