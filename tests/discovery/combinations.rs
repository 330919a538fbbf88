//! Every line of the recovery table, on a disk.

use std::path::Path;
use std::sync::{Arc, Mutex};

use icecore::catalog::memory::MemoryCatalog;
use icecore::catalog::{Catalog as _, Mutation, SegmentRow, SegmentStatus};
use icecore::fs::SimulatedFileSystem;
use icecore::fs::simulated::Cut;
use icecore::log::recover::table::{Action, Elsewhere, FileState, decide_copy, rows};
use icecore::types::Epoch;
use icecore::{Log, Sequence, Timestamp};

use crate::world::{Disk, FILE, RECORDS, World, ids, name, sequences};

/// What every combination is built from.
struct Parts {
    /// After the seal, without the segment's file, and with a catalog that does not know it.
    base: World,
    row: SegmentRow,
    directories: [String; 2],
    good: Vec<u8>,
    /// A whole segment of the same log and name with other records.
    other: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        let world = World::new();
        let directories = ids(&world.open());
        let before = world.fork();
        let fork = world.fork();
        fork.seal("other");
        world.seal("good");
        let own = Path::new("/one").join(FILE);
        let (good, other) = (world.disk.read(&own).unwrap(), fork.disk.read(&own).unwrap());
        assert_ne!(good, other);
        let row = world.row().unwrap();
        let catalog = Arc::new(before.catalog.snapshot());
        let assign = Mutation::Assign {
            component: "wal".to_owned(),
            collection: name("c"),
            directory: directories[0].clone(),
            epoch: Epoch(1),
            from: Sequence::FIRST,
        };
        catalog.apply(&[assign], Timestamp(1), "test").unwrap();
        let disk = Disk::of(world.disk.inner.crash_image(Cut::KeepAll));
        disk.remove(&own);
        disk.remove_journals();
        Self { base: World { disk, catalog }, row, directories, good, other }
    }

    /// The torn file has no end; it is ours all the same.
    fn torn(&self) -> &[u8] {
        &self.good[..self.good.len() - 10]
    }

    fn build(&self, row: Option<SegmentStatus>, file: FileState, elsewhere: Elsewhere, archived: bool) -> World {
        let world = self.base.fork();
        if let Some(status) = row {
            self.insert(&world.catalog, status, archived);
        }
        let (own, copy) = (Path::new("/one").join(FILE), Path::new("/two").join(FILE));
        match file {
            FileState::Absent => {}
            FileState::Present => world.disk.put(&own, &self.good),
            FileState::Damaged => world.disk.put(&own, self.torn()),
            FileState::Unreadable => world.disk.put(&own, &self.good),
        }
        match elsewhere {
            Elsewhere::None | Elsewhere::Compacted => {}
            Elsewhere::Same | Elsewhere::Unreadable => world.disk.put(&copy, &self.good),
            // Without a row, and without a whole file in its own place, any whole file is the segment.
            Elsewhere::Other if row.is_none() && file != FileState::Present => world.disk.put(&copy, self.torn()),
            Elsewhere::Other => world.disk.put(&copy, &self.other),
        }
        self.break_paths(&world, row, file, elsewhere);
        world
    }

    fn break_paths(&self, world: &World, row: Option<SegmentStatus>, file: FileState, elsewhere: Elsewhere) {
        if file == FileState::Unreadable {
            // A file without a row shows only where its folder can be listed.
            world.disk.break_path(if row.is_some() { "/one/c".into() } else { Path::new("/one").join(FILE) });
        }
        if elsewhere == Elsewhere::Unreadable {
            world.disk.break_path(Path::new("/two").join(FILE));
        }
    }

    /// The row in `status`, by a way that the rules allow.
    fn insert(&self, catalog: &MemoryCatalog, status: SegmentStatus, archived: bool) {
        use SegmentStatus::{Archived, Archiving, Evicted, Purged, Purging, Quarantined, Replaced, Sealed};
        let way: &[SegmentStatus] = match status {
            Sealed => &[Sealed],
            Archiving => &[Sealed, Archiving],
            Archived => &[Evicted, Archived],
            Evicted => &[Evicted],
            Replaced => &[Sealed, Replaced],
            Purging => &[Evicted, Purging],
            Purged => &[Evicted, Purging, Purged],
            Quarantined => &[Quarantined],
        };
        let archive_key = archived.then(|| "archived/object".to_owned());
        let row = SegmentRow { status: way[0], archive_key: archive_key.clone(), ..self.row.clone() };
        let mut mutations = vec![Mutation::InsertSegment(row)];
        mutations.extend(way.windows(2).map(|pair| Mutation::Transition {
            key: self.row.key.clone(),
            from: pair[0],
            to: pair[1],
            archive_key: archive_key.clone(),
        }));
        let (collection, last) = (name("c"), Sequence(RECORDS));
        if status == Quarantined {
            mutations.push(Mutation::RecordLoss { collection: collection.clone(), first: Sequence::FIRST, last });
        }
        mutations.push(Mutation::RaiseSealedThrough { collection, sequence: last });
        catalog.apply(&mutations, Timestamp(1), "test").unwrap();
    }
}

/// Of a row's file nobody looks whether it is whole, unless there is a reason.
fn seen(row: Option<SegmentStatus>, file: FileState, elsewhere: Elsewhere) -> FileState {
    let is_read = matches!(row, None | Some(SegmentStatus::Quarantined)) || elsewhere != Elsewhere::None;
    if file == FileState::Damaged && !is_read { FileState::Present } else { file }
}

/// What the tables say that opening does, as labels, sorted; and whether the file elsewhere becomes the segment's own.
fn expected(
    row: Option<SegmentStatus>,
    file: FileState,
    elsewhere: Elsewhere,
    action: Action,
) -> (Vec<&'static str>, bool) {
    let moves = file != FileState::Present && matches!(action, Action::Adopt | Action::Relocate | Action::PutBack);
    let mut labels = vec![action];
    if moves {
        // What damaged file lies in the own place of a segment without a row is set aside as what it is.
        labels.extend((row.is_none() && file == FileState::Damaged).then_some(Action::SetAside));
    } else {
        labels.push(decide_copy(file, elsewhere));
    }
    let mut labels: Vec<&str> = labels
        .into_iter()
        .filter(|label| !matches!(label, Action::Keep | Action::Nothing))
        .map(Action::label)
        .collect();
    labels.sort_unstable();
    if row.is_none() && file == FileState::Absent {
        // Then the copy is all there is of the segment.
        labels.dedup();
    }
    (labels, moves)
}

/// What is there after recovery: row, losses, files.
type State = (Option<(SegmentStatus, String)>, Vec<(u64, u64)>, Vec<(String, Vec<u8>)>);

fn state(world: &World) -> State {
    let row = world.row().map(|row| (row.status, row.directory));
    let files = world.disk.data_files().into_iter().map(|(path, bytes)| (path.display().to_string(), bytes));
    (row, world.losses(), files.collect())
}

/// What compaction made has another name, and its own tests beside compaction.
fn rows_here() -> impl Iterator<Item = icecore::log::recover::table::Line> {
    rows().filter(|(_, _, elsewhere, ..)| *elsewhere != Elsewhere::Compacted)
}

#[test]
fn opening_does_what_the_table_says_and_doing_it_twice_changes_nothing() {
    let parts = Parts::new();
    let mut lines = 0;
    for (row, file, elsewhere, archived, _) in rows_here() {
        let line = format!("row={row:?} file={file:?} elsewhere={elsewhere:?} archived={archived}");
        if row.is_none() && archived {
            continue;
        }
        lines += 1;
        let world = parts.build(row, file, elsewhere, archived);
        let seen = seen(row, file, elsewhere);
        let action = icecore::log::recover::table::decide(row, seen, elsewhere, archived);
        let (labels, moves) = expected(row, seen, elsewhere, action);
        let before = world.disk.data_files();

        // The plan is what is done, and making it changes nothing.
        let planned = Log::examine(&world.options()).unwrap().steps;
        assert_eq!(world.disk.data_files(), before, "{line}");
        let log = world.open();
        assert_eq!(log.recovery().steps, planned, "{line}");
        let mut done: Vec<&str> = log.recovery().steps.iter().map(|step| step.action).collect();
        done.sort_unstable();
        assert_eq!(done, labels, "{line}: {:?}", log.recovery().steps);
        let read = sequences(&log);
        log.close().unwrap();
        drop(log);

        // No byte is gone but by an action that removes.
        let after = world.disk.data_files();
        let removes = |label: &&str| matches!(*label, "remove-file" | "remove-copy" | "finish-purge");
        let gone = before.iter().filter(|(_, bytes)| !after.iter().any(|(_, kept)| kept == bytes)).count();
        assert!(gone == 0 || labels.iter().any(removes), "{line}: {gone} files are gone");
        let is_removed = |path: &str| !after.iter().any(|(at, _)| at == &Path::new(path).join(FILE));

        let row_after = world.row().map(|row| (row.status, row.directory));
        let home = parts.directories[usize::from(moves)].clone();
        let all: Vec<u64> = (1..=RECORDS).collect();
        match action {
            Action::Adopt | Action::PutBack | Action::BackToSealed => {
                assert_eq!(row_after, Some((SegmentStatus::Sealed, home)), "{line}");
                assert_eq!(world.losses(), [], "{line}");
                // Damage where nobody looked is told by those who read.
                assert!(read == Ok(all) || seen != file, "{line}: {read:?}");
            }
            Action::Relocate => {
                let status = row.map(|row| if row == SegmentStatus::Archiving { SegmentStatus::Sealed } else { row });
                assert_eq!(row_after, status.map(|status| (status, home)), "{line}");
                assert_eq!((read, world.losses()), (Ok(all), vec![]), "{line}");
            }
            Action::Quarantine => {
                assert_eq!(row_after.map(|(status, _)| status), Some(SegmentStatus::Quarantined), "{line}");
                assert_eq!(world.losses(), [(1, RECORDS)], "{line}");
                assert!(is_removed("/one"), "{line}");
            }
            Action::ReadFromArchive => {
                assert_eq!(row_after.map(|(status, _)| status), Some(SegmentStatus::Evicted), "{line}");
                assert_eq!(world.losses(), [], "{line}");
            }
            Action::RemoveFile | Action::FinishPurge => assert!(is_removed("/one"), "{line}"),
            Action::Report => {
                assert_eq!(row_after.map(|(status, _)| status), row, "{line}");
                assert_eq!(before, after, "{line}: nothing is changed");
            }
            _ => assert_eq!(row_after.map(|(status, _)| status), row, "{line}"),
        }
        if labels.contains(&"remove-copy") {
            assert!(is_removed("/two"), "{line}");
        }

        // What cannot be read is told again, and so is a purge whose archived copy is still to be deleted.
        let first = state(&world);
        let log = world.open();
        let again: Vec<&str> = log.recovery().steps.iter().map(|step| step.action).collect();
        let is_told = |label: &&str| matches!(*label, "report" | "finish-purge");
        assert!(again.iter().all(is_told), "{line}: {again:?}");
        log.close().unwrap();
        drop(log);
        assert_eq!(state(&world), first, "{line}");
    }
    assert_eq!(lines, 9 * 4 * 4 * 2 - 4 * 4);
}

/// A power cut or a kill before each change of a file, and behind each change of the catalog, while it is acted: the next opening ends
/// where the undisturbed one did.
#[test]
fn a_crash_between_any_two_steps_of_acting_ends_in_the_same_place() {
    let parts = Parts::new();
    let mut crashes = 0;
    for (row, file, elsewhere, archived, action) in rows_here() {
        let is_calm = matches!(action, Action::Keep | Action::Nothing) && elsewhere == Elsewhere::None;
        if is_calm || row.is_none() && archived || file == FileState::Unreadable || elsewhere == Elsewhere::Unreadable {
            continue;
        }
        let line = format!("row={row:?} file={file:?} elsewhere={elsewhere:?} archived={archived}");
        let world = parts.build(row, file, elsewhere, archived);
        let images: Arc<Mutex<Vec<(SimulatedFileSystem, MemoryCatalog)>>> = Arc::default();
        let (taken, catalog) = (Arc::clone(&images), Arc::clone(&world.catalog));
        world.disk.inner.observe(Arc::new(move |operation, fs| {
            let path = operation.path.to_string_lossy();
            if path.contains("/c") && !path.contains("catalog") || path.contains("quarantine") {
                let mut taken = taken.lock().unwrap();
                taken.push((fs.crash_image(Cut::DropAll), catalog.snapshot()));
                taken.push((fs.kill_image(), catalog.snapshot()));
            }
        }));
        let (taken, fs) = (Arc::clone(&images), world.disk.inner.clone());
        world.catalog.observe(move |catalog| {
            taken.lock().unwrap().push((fs.crash_image(Cut::DropAll), catalog.snapshot()));
        });
        world.open().close().unwrap();
        world.disk.inner.observe_no_more();
        world.catalog.observe(|_| {});
        let undisturbed = state(&world);
        for (number, (fs, catalog)) in std::mem::take(&mut *images.lock().unwrap()).into_iter().enumerate() {
            let image = World { disk: Disk::of(fs), catalog: Arc::new(catalog) };
            image.open().close().unwrap();
            // In the quarantine a file may lie under another number.
            let bare = |(row, losses, files): State| {
                let mut bytes: Vec<Vec<u8>> = files.into_iter().map(|(_, bytes)| bytes).collect();
                bytes.sort();
                (row, losses, bytes)
            };
            assert_eq!(bare(state(&image)), bare(undisturbed.clone()), "{line}, crash {number}");
            crashes += 1;
        }
    }
    assert!(crashes > 500, "{crashes}");
}
