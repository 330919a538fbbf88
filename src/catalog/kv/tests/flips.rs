//! Flipped bits anywhere in the file, also where an engine keeps its own structure.
//!
//! Pages have no checksums, and an engine may end the process on a damaged one, so that another process looks. Whatever it
//! says, it must not be a wrong answer that `check` does not find either. One wrong answer cannot be told from the file: when
//! the page that names the newest state is damaged, the state before it is served, whole, as if the newest change had not
//! been made: an old copy, which the log finds by its number (C3).

use std::collections::BTreeMap;

use super::processes::{lines, role, start};
use super::*;

const FLIPS: usize = 600;

/// The file that the flips are made in, the answers that it gives, and those before its newest change.
fn world<E: Environment>(place: &Place<E>) -> (Answers, Answers) {
    let catalog = place.create();
    fill(&catalog);
    let many: Vec<_> = (0..40).map(|place| insert("ab", place * 10 + 1, place * 10 + 9)).collect();
    apply(&catalog, &many).unwrap();
    let before = Answers::of(&catalog);
    apply(&catalog, &[insert("ab", 1001, 1009)]).unwrap();
    (Answers::of(&catalog), before)
}

/// Which bit the flip of this number turns: any of a byte that is not zero, as most of the file is zeros that nobody reads.
fn flip(clean: &[u8], number: usize) -> (usize, u8) {
    let mut random = fastrand::Rng::with_seed(number as u64);
    // Every second one in the pages at the beginning, which say where everything is.
    let end = if number.is_multiple_of(2) { clean.len() } else { 3 * 4096 };
    loop {
        let at = random.usize(..end.min(clean.len()));
        if clean[at] != 0 {
            return (at, random.u8(..8));
        }
    }
}

/// Looks at flips from `from` on, and says what came of each before the next.
fn look<E: Environment>(file: &std::path::Path, from: usize) {
    let place = Place::<E>::new();
    let (expected, before) = world(&place);
    let clean = std::fs::read(file).unwrap();
    for number in from..FLIPS {
        let (at, bit) = flip(&clean, number);
        let mut bytes = clean.clone();
        bytes[at] ^= 1 << bit;
        // A file of its own each: what a crash leaves must not matter.
        let path = place.directory.path().join(format!("flip-{number}"));
        std::fs::write(&path, &bytes).unwrap();
        println!("other: {number} looks");
        let outcome = match KvCatalog::<E>::open(&path, CatalogMode::ReadOnly) {
            Err(_) => "refused",
            Ok(catalog) => match Answers::try_of(&catalog) {
                Err(_) => "error",
                Ok(answers) if answers == expected => "equal",
                Ok(answers) => match catalog.check() {
                    Err(_) => "error",
                    Ok(lines) if !lines.is_empty() => "found",
                    Ok(_) if answers == before => "older",
                    Ok(_) => "wrong",
                },
            },
        };
        println!("other: {number} {outcome}");
        std::fs::remove_file(&path).unwrap();
    }
}

fn no_flipped_bit_of_the_file_is_a_wrong_answer<E: Environment>() {
    if let Some((from, file)) = role() {
        return look::<E>(&file, from.parse().unwrap());
    }
    let this = format!("catalog::kv::tests::flips::on_{}::no_flipped_bit_of_the_file_is_a_wrong_answer", E::ENGINE);
    let place = Place::<E>::new();
    world(&place);
    let clean = std::fs::read(place.path()).unwrap();
    let mut outcomes = BTreeMap::<String, usize>::new();
    let mut next = 0;
    while next < FLIPS {
        let mut other = start(&this, &next.to_string(), &place.path());
        let mut looked_at = None;
        for line in lines(&mut other) {
            let (number, outcome) = line.split_once(' ').unwrap();
            let number: usize = number.parse().unwrap();
            assert_ne!(outcome, "wrong", "flip {number} of byte and bit {:?}", flip(&clean, number));
            if outcome == "looks" {
                looked_at = Some(number);
                continue;
            }
            *outcomes.entry(outcome.to_owned()).or_default() += 1;
            (looked_at, next) = (None, number + 1);
        }
        let ended = other.wait().unwrap();
        match looked_at {
            Some(number) => {
                assert!(!ended.success());
                *outcomes.entry("crash".to_owned()).or_default() += 1;
                next = number + 1;
            }
            None => assert!(ended.success(), "{ended}"),
        }
    }
    println!("{}: {outcomes:?}", E::ENGINE);
    assert_eq!(outcomes.values().sum::<usize>(), FLIPS);
    let noticed: usize =
        ["refused", "error", "found", "crash"].iter().filter_map(|outcome| outcomes.get(*outcome)).sum();
    assert!(noticed > FLIPS / 8, "{outcomes:?}");
}

on_engines! {
    no_flipped_bit_of_the_file_is_a_wrong_answer
}
