use std::ffi::OsString;
use std::time::Duration;

use super::*;

fn sources(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    Sources {
        file: Some(SettingsFile { path: PathBuf::from("/etc/icecore.toml"), text: file.to_owned() }),
        environment: environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect(),
        flags: flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Raw::Word((*value).to_owned()), "--set".to_owned()))
            .collect(),
    }
}

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_sources(&sources(file, environment, flags))
}

fn refused(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> (String, String) {
    let error: Error = load(file, environment, flags).expect_err("these settings are wrong").into();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    (error.to_string(), error.hint().unwrap_or_default().to_owned())
}

#[test]
fn the_stronger_source_wins_and_each_value_knows_its_own() {
    let file = "[flush]\nbytes = \"1MiB\"\nage = \"1h\"\n\n[sync]\nmode = \"never\"\n";
    let config = load(
        file,
        &[("ICECORE_FLUSH_BYTES", "2MiB"), ("ICECORE_SYNC_MODE", "periodic"), ("PATH", "/bin")],
        &[("sync.mode", "always")],
    )
    .unwrap();
    let settings = config.settings();
    assert_eq!(settings.flush.age, Duration::from_secs(3600));
    assert_eq!(settings.flush.bytes, ByteSize::mib(2));
    assert_eq!(settings.sync.mode, SyncMode::Always);
    assert_eq!(settings.segment, SegmentSettings::default());
    let origins: Vec<String> =
        ["flush.age", "flush.bytes", "sync.mode", "seal.age"].map(|key| config.origin(key).to_string()).into();
    assert_eq!(origins, ["/etc/icecore.toml:3", "ICECORE_FLUSH_BYTES", "--set", "default"]);
}

#[test]
fn an_unknown_key_names_the_file_and_the_near_one() {
    let (message, hint) = refused("[sync]\nmod = \"always\"\n", &[], &[]);
    assert_eq!(message, "unknown setting: key=`sync.mod`, from=`/etc/icecore.toml:2`");
    assert_eq!(hint, "did you mean `sync.mode`?");
    let (message, hint) = refused("[snyc]\nmode = \"always\"\n", &[], &[]);
    assert_eq!(message, "unknown setting: key=`snyc`, from=`/etc/icecore.toml:1`");
    assert_eq!(hint, "did you mean `sync`?");
    let (message, hint) = refused("", &[("ICECORE_FLUSH_BYTE", "1")], &[]);
    assert_eq!(message, "unknown setting: key=`ICECORE_FLUSH_BYTE`, from=`ICECORE_FLUSH_BYTE`");
    assert_eq!(hint, "did you mean `ICECORE_FLUSH_BYTES`?");
    let (_, hint) = refused("colour = 1", &[], &[]);
    assert_eq!(hint, "`icecore config` lists all settings");
}

#[test]
fn a_bad_value_names_setting_value_limit_and_origin() {
    for (file, environment, flags, expected) in [
        (
            "[sync]\ninterval = 50",
            &[][..],
            &[][..],
            "invalid setting: key=`sync.interval`, value=`50`, from=`/etc/icecore.toml:2`; a span of time needs a unit, such as `50s`",
        ),
        (
            "",
            &[("ICECORE_SEGMENT_BLOCK_BYTES", "1GiB")],
            &[],
            "invalid setting: key=`segment.block_bytes`, value=`1GiB`, from=`ICECORE_SEGMENT_BLOCK_BYTES`; it must be from 1KiB to 64MiB",
        ),
        (
            "",
            &[],
            &[("sync", "sometimes")],
            "invalid setting: key=`sync.mode`, value=`sometimes`, from=`--set`; one of always, per-batch, periodic, never is wanted",
        ),
        (
            "[catalog]\nengine = [\"sqlite\", \"oracle\"]",
            &[],
            &[],
            "invalid setting: key=`catalog.engine`, value=`sqlite,oracle`, from=`/etc/icecore.toml:2`; one of sqlite, mdbx, lmdb is wanted",
        ),
        (
            "placement.policy = \"least_used\"",
            &[],
            &[],
            "invalid setting: key=`placement.policy`, value=`least_used`, from=`/etc/icecore.toml:1`; one of round-robin, hash, least-used is wanted",
        ),
        (
            "log.level = true",
            &[],
            &[],
            "invalid setting: key=`log.level`, value=`true`, from=`/etc/icecore.toml:1`; one of off, error, warn, info, debug, trace is wanted",
        ),
    ] {
        assert_eq!(refused(file, environment, flags).0, expected);
    }
}

#[test]
fn values_must_go_together_and_the_given_one_is_blamed() {
    let (message, _) = refused("[limits]\nrecord_bytes = \"64MiB\"", &[], &[]);
    assert_eq!(
        message,
        "invalid setting: key=`limits.record_bytes`, value=`64MiB`, from=`/etc/icecore.toml:2`; it must be at most limits.batch_bytes, which is 32MiB"
    );
    let (message, _) = refused("archive.bandwidth = \"64KiB\"", &[], &[]);
    assert_eq!(
        message,
        "invalid setting: key=`archive.bandwidth`, value=`64KiB`, from=`/etc/icecore.toml:1`; it must be at least 93207 bytes, for archive.parallel objects of archive.multipart_bytes within archive.deadline"
    );
    let (message, _) = refused("", &[], &[("journal.bytes", "16MiB")]);
    assert_eq!(
        message,
        "invalid setting: key=`journal.bytes`, value=`16MiB`, from=`--set`; it does not go with limits.batch_bytes, which is 32MiB by default: that one must fit it"
    );
    let (message, _) = refused("[segment]\ncodec = \"deflate\"\nlevel = 10", &[], &[]);
    assert!(message.contains("segment.level") && message.contains("1 to 9"), "{message}");
}

#[test]
fn a_short_spelling_stands_for_its_key_but_not_beside_it() {
    let config = load("catalog = \"sqlite\"\nsync = \"always\"", &[], &[]).unwrap();
    assert_eq!(config.settings().sync.mode, SyncMode::Always);
    assert_eq!(config.origin("catalog.engine").word(), "file");
    let (message, _) = refused("", &[("ICECORE_SYNC", "always"), ("ICECORE_SYNC_MODE", "never")], &[]);
    assert_eq!(message, "setting is given twice: key=`sync.mode`, from=`ICECORE_SYNC` and `ICECORE_SYNC_MODE`");
}

#[test]
fn broken_toml_names_its_line() {
    let (message, hint) = refused("[sync]\nmode = always\n", &[], &[]);
    assert!(
        message.starts_with("settings file cannot be read as toml: path=`/etc/icecore.toml`, line=`2`"),
        "{message}"
    );
    assert_eq!(hint, "correct the file, or name another with --config");
}

#[test]
fn relative_paths_of_a_file_start_from_its_directory() {
    let config = load("data = [\"a\", \"/b\", \"s3://c\"]\ncatalog.path = \"fast\"", &[], &[]).unwrap();
    assert_eq!(config.settings().data, ["/etc/a", "/b", "s3://c"]);
    assert_eq!(config.settings().catalog.path.as_deref(), Some(Path::new("/etc/fast")));
    let config = load("data = \"a\"", &[("ICECORE_DATA", "x,y")], &[]).unwrap();
    assert_eq!(config.settings().data, ["x", "y"]);
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let config = load("", &[("ICECORE_SYNC_MODE", "")], &[]).unwrap();
    assert_eq!(config.origin("sync.mode"), Origin::Default);
}

#[test]
fn an_archive_is_a_url_and_what_may_be_a_secret_is_not_repeated() {
    let config = load("[archive]\nurl = \"cold\"\n[price]\nput = 0.005\nget = 1\n", &[], &[]).unwrap();
    assert_eq!(config.settings().archive.url, Some(crate::objects::Location::Local("/etc/cold".into())));
    assert_eq!((config.settings().price.put, config.settings().price.get), (Some(Amount(0.005)), Some(Amount(1.0))));
    let config = load("archive = \"s3://bucket/logs\"", &[("ICECORE_ARCHIVE_PARALLEL", "2")], &[]).unwrap();
    assert_eq!(config.settings().archive.url.as_ref().unwrap().to_string(), "s3://bucket/logs");
    for url in ["s3://key:hunter2@bucket/p", "az://account/container?sig=hunter2", "gs://bucket#hunter2"] {
        let (error, hint) = refused("", &[("ICECORE_ARCHIVE", url)], &[]);
        assert!(!error.contains("hunter2") && !hint.contains("hunter2"), "{error} {hint}");
        assert!(error.contains("credentials"), "{error}");
    }
    for (key, value) in [("archive.parallel", "0"), ("archive.retain", "1s"), ("price.put", "-1"), ("price.put", "NaN")]
    {
        assert!(load("", &[], &[(key, value)]).is_err(), "{key} {value}");
    }
}
