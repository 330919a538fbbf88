//! `icecore ls manifests|objects`

use super::Add;
use crate::archive::ManifestNumber;
use crate::archive::ls::{ObjectKind, manifests as each_manifest, objects as each_object};
use crate::cli::facts::Facts;
use crate::cli::{Context, Failure, LsManifestsArgs, LsObjectsArgs, stores};
use crate::types::ids::hex;
use crate::{Error, ErrorKind};

/// An error of printing, kept while a visitor is left.
fn stop(kept: &mut Option<Failure>, failure: Failure) -> Error {
    *kept = Some(failure);
    Error::new(ErrorKind::Closed, "printing ended")
}

fn outcome(result: crate::Result<()>, kept: Option<Failure>) -> Result<(), Failure> {
    match kept {
        Some(failure) => Err(failure),
        None => Ok(result?),
    }
}

pub(super) fn manifests(context: &Context, args: &LsManifestsArgs, add: &mut Add<'_>) -> Result<(), Failure> {
    let store = stores::open_patient(context, stores::location(context)?)?;
    let mut kept = None;
    let result = each_manifest(&*store, Some(ManifestNumber(args.from)), &mut |manifest| {
        let facts = Facts::default()
            .number("manifest", manifest.number.get())
            .time("at", manifest.at)
            .number("epoch", manifest.epoch.get())
            .text("writer", manifest.writer)
            .flag("checkpoint", manifest.checkpoint)
            .count("segments", manifest.segments)
            .count("removed", manifest.removed)
            .count("others", manifest.others)
            .bytes("bytes", manifest.bytes)
            .hidden("sha256", hex(&manifest.sha256));
        add(facts).map_err(|failure| stop(&mut kept, failure))
    });
    outcome(result, kept)
}

pub(super) fn objects(context: &Context, args: &LsObjectsArgs, add: &mut Add<'_>) -> Result<(), Failure> {
    let kinds = [
        ObjectKind::Manifest,
        ObjectKind::Segment,
        ObjectKind::UnnamedSegment,
        ObjectKind::Snapshot,
        ObjectKind::OldSnapshot,
        ObjectKind::Probe,
        ObjectKind::Foreign,
    ];
    if let Some(kind) = args.kind.as_ref().filter(|kind| !kinds.iter().any(|known| known.word() == **kind)) {
        let known = kinds.map(ObjectKind::word).join(", ");
        return Err(Failure::usage(format!("unknown kind of an object: kind=`{kind}`"), format!("one of {known}")));
    }
    let store = stores::open_patient(context, stores::location(context)?)?;
    let mut kept = None;
    let result = each_object(&*store, &args.prefix, &mut |object| {
        if args.kind.as_ref().is_some_and(|kind| object.kind.word() != *kind) {
            return Ok(());
        }
        let facts = Facts::default()
            .text("key", &object.key)
            .text("kind", object.kind.word())
            .number("first_sequence", object.sequences.map(|(first, _)| first.get()))
            .number("last_sequence", object.sequences.map(|(_, last)| last.get()))
            .bytes("bytes", object.bytes);
        add(facts).map_err(|failure| stop(&mut kept, failure))
    });
    outcome(result, kept)
}
