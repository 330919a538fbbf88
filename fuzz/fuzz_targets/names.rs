//! Names of collections, directories, segments, journals: one spelling for each.
#![no_main]

use icecore::CollectionName;
use icecore::journal::file::{file_name, parse_file_name};
use icecore::segment::SegmentName;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = CollectionName::new(text) {
        let folder = name.directory_name();
        assert!(!folder.is_empty() && folder.len() <= 200 && !folder.starts_with(['.', '_']), "{folder}");
        assert!(
            folder.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.~".contains(&byte))
        );
        match CollectionName::from_directory_name(&folder) {
            Some(back) => assert_eq!(back, name),
            None => assert!(folder.contains("~~")),
        }
    }
    if let Some(name) = CollectionName::from_directory_name(text) {
        assert_eq!(name.directory_name(), text);
    }
    if let Some(name) = SegmentName::parse(text) {
        assert_eq!(name.to_string(), text);
    }
    if let Some((kind, journal)) = parse_file_name(text) {
        assert_eq!(file_name(kind, journal), text);
    }
});
