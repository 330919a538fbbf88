//! Settings files, environment, sizes, durations, times, identities.
#![no_main]

use std::path::Path;

use icecore::Timestamp;
use icecore::cli::time::{Position, TailFrom, TimeArg, parse_rfc3339};
use icecore::config::{ByteSize, Config, Raw, SettingsFile, Sources, parse_duration, show_duration};
use icecore::fs::simulated::SimulatedFileSystem;
use icecore::fs::{FileSystem, OpenMode};
use icecore::log::identity::{FOLDER, Identity};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = Some(SettingsFile { path: "icecore.toml".into(), text: text.to_owned() });
    match Config::from_sources(&Sources { file, ..Sources::default() }) {
        Ok(_) => {}
        Err(error) => {
            let _ = (error.to_string(), error.hint());
        }
    }
    for variable in ["ICECORE_DATA", "ICECORE_SYNC_MODE", "ICECORE_SEAL_AGE", "ICECORE_SEGMENT_BYTES", text] {
        let environment = vec![(variable.into(), text.into())];
        let _ = Config::from_sources(&Sources { environment, ..Sources::default() });
    }
    let flags = vec![(text.to_owned(), Raw::Word(text.to_owned()), "--set".to_owned())];
    let _ = Config::from_sources(&Sources { flags, ..Sources::default() });

    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    if let Ok(span) = parse_duration(text) {
        assert_eq!(parse_duration(&show_duration(span)), Ok(span));
    }
    if let Ok(time) = parse_rfc3339(text) {
        assert_eq!(parse_rfc3339(&time.to_string()), Ok(time), "{time}");
    }
    if let Ok(time) = text.parse::<TimeArg>() {
        let now = Timestamp(1_700_000_000_000_000);
        assert!(time.first(now) <= time.last(now));
    }
    let _ = text.parse::<Position>();
    let _ = text.parse::<TailFrom>();

    let fs = SimulatedFileSystem::new();
    let directory = Path::new("/log");
    for folder in [directory, &directory.join(FOLDER)] {
        fs.create_dir(folder).expect("memory takes folders");
    }
    let file = fs.open(&Identity::path(directory), OpenMode::CreateNew).expect("memory takes files");
    file.write_all_at(text.as_bytes(), 0).expect("memory takes writes");
    if let Ok(Some(identity)) = Identity::read(&fs, directory) {
        let _ = identity.log_id(directory);
    }
});
