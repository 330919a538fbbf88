//! `icecore status`

use std::time::Duration;

use super::verify::tails;
use crate::archive::ArchiveOverview;
use crate::archive::archiver::KeptStore;
use crate::cli::facts::Facts;
use crate::cli::human::{self, Align, Table};
use crate::cli::{CommandResult, Context, Exit, Stdout, logs, stores};
use crate::log::AbandonedSink;
use crate::log::assign::DirectoryStatistics;
use crate::log::compact::LastCompaction;
use crate::log::directories::HomeInfo;
use crate::log::figures::{AppendFigures, Told};
use crate::log::read::{JournalInfo, JournalUse};
use crate::log::recover::COMPONENT;
use crate::log::subscribe::SinkNotNamed;
use crate::log::tier::Due;
use crate::log::verify::Status;
use crate::objects::{Abilities, RequestKind, Usage};
use crate::sink::{SinkStatus, ToldSinks};
use crate::types::Timestamp;

/// So many local copies that cannot go are told.
const KEPT_TOLD: usize = 5;

pub(in crate::cli) fn run(context: &Context) -> CommandResult {
    let log = logs::open_read_only(context)?;
    let status = log.status().map_err(logs::explain)?;
    let statistics = log.directories_statistics().map_err(logs::explain)?;
    let settings = context.config.settings();
    let homes = log.homes().map_err(logs::explain)?;
    let compaction = Compaction {
        last: log.last_compaction().map_err(logs::explain)?,
        clock: log.clock_problem(context.clock.now(), false).map_err(logs::explain)?,
    };
    let archive = ArchiveOverview::of(&**log.catalog(), &stores::prices(settings)).map_err(logs::explain)?;
    let archive = (!archive.stores.is_empty() || settings.archive.url.is_some()).then_some(archive);
    let appends = log.told_append_figures();
    // Also where the settings name none: who delivered may have been told of them by a flag.
    let sinks = ToldSinks::of(&log);
    let not_named = log.sinks_not_named().map_err(logs::explain)?;
    let abandoned = log.abandoned_sinks().map_err(logs::explain)?;
    let rules = stores::evict_rules(settings);
    let due = match &archive {
        Some(_) if !rules.is_never() => Some(log.evict_due(&rules, true, &mut || true).map_err(logs::explain)?),
        _ => None,
    };
    let mut stdout = Stdout::lock();
    if context.json {
        let mut object = serde_json::to_value(&status).expect("a status is plain text and numbers");
        for directory in object["directories"].as_array_mut().into_iter().flatten() {
            let held = statistics.iter().find(|held| directory["id"] == held.directory.as_str());
            let (collections, bytes) = held.map(held_there).unzip();
            directory["collections"] = collections.into();
            directory["bytes"] = bytes.into();
        }
        object["appends"] = serde_json::to_value(&appends).expect("plain text and numbers");
        object["sinks"] = serde_json::to_value(&sinks).expect("plain text and numbers");
        object["sinks_not_named"] = serde_json::to_value(&not_named).expect("plain text and numbers");
        object["abandoned_sinks"] = serde_json::to_value(&abandoned).expect("plain text and numbers");
        object["homes"] = serde_json::to_value(&homes).expect("plain text and numbers");
        object["compaction"] = serde_json::to_value(&compaction).expect("plain text and numbers");
        object["archive"] = serde_json::to_value(&archive).expect("plain text and numbers");
        if let Some(due) = &due {
            object["archive"]["evict"] = serde_json::to_value(due).expect("plain text and numbers");
        }
        stdout.line(&object.to_string())?;
    } else {
        let live = Live { appends, sinks, not_named, abandoned };
        let archive = (archive.as_ref(), due.as_ref(), &compaction);
        stdout.write(render(&status, (&statistics, &homes), archive, &live, context.clock.now()).as_bytes())?;
    }
    stdout.flush()?;
    Ok(Exit::Ok)
}

/// What the last compaction did, and whether the next one may let anything expire.
#[derive(serde::Serialize)]
struct Compaction {
    last: Option<LastCompaction>,
    /// Why nothing expires now.
    clock: Option<String>,
}

impl Compaction {
    fn shown(&self) -> String {
        let Some(last) = &self.last else { return String::new() };
        let records = last.versions + last.expired + last.tombstones;
        let done = format!(
            "{} to {}, {} to {}, {} removed",
            human::plural(last.segments_before, "segment"),
            human::count(last.segments_after),
            human::size(last.bytes_before),
            human::size(last.bytes_after),
            human::plural(records, "record"),
        );
        let mut facts = Facts::default().text("compacted", last.at.to_string()).text("did", done);
        if last.sinks.files_before > 0 {
            facts = facts.text("in_sinks", super::compact::told(&last.sinks));
        }
        format!("\n{}", facts.lines())
    }

    fn attention(&self) -> Vec<String> {
        let stopped = self.last.iter().flat_map(|last| &last.stopped).map(|why| format!("compaction: {why}"));
        // What stopped the last run because of the clock is told as it is now.
        let stopped = stopped.filter(|why| !why.starts_with("compaction: the clock is "));
        stopped.chain(self.clock.iter().map(|why| format!("nothing expires: {why}"))).collect()
    }
}

/// How many collections live in a directory, and how many bytes of segments and unsealed records.
fn held_there(held: &DirectoryStatistics) -> (u64, u64) {
    let collections = held.collections.get(COMPONENT).copied().unwrap_or(0);
    (collections, held.segment_bytes + held.unsealed_bytes)
}

fn render(
    status: &Status,
    (statistics, homes): (&[DirectoryStatistics], &[HomeInfo]),
    (archive, due, compaction): (Option<&ArchiveOverview>, Option<&Due>, &Compaction),
    live: &Live,
    now: Timestamp,
) -> String {
    let segments: Vec<String> =
        status.segments.iter().map(|(word, count)| format!("{} {word}", human::count(*count))).collect();
    let facts = Facts::default()
        .text("log", &status.log)
        .number("epoch", status.epoch)
        .text("catalog", catalog(status))
        .number("change_number", status.change_number.0)
        .count("collections", status.collections)
        .text("segments", if segments.is_empty() { "0".to_owned() } else { segments.join(", ") })
        .text("unsealed", unsealed(status));
    let mut text = facts.lines();
    text.push_str(&directories(status, statistics, homes));
    text.push_str(&archive.map_or_else(String::new, |archive| archived(archive, due, now)));
    text.push_str(&compaction.shown());
    text.push_str(&live.lines(now));
    text.push_str(&journals(&status.journals));
    text.push_str(&tails(status.unproven_tail_bytes, status.dropped_tail_bytes));
    let mut attention = attention(status);
    attention.extend(archive.into_iter().flat_map(archive_attention));
    attention.extend(live.attention());
    attention.extend(compaction.attention());
    attention.extend(
        due.into_iter()
            .flat_map(|due| &due.evicted.kept)
            .take(KEPT_TOLD)
            .map(|kept| format!("{}: its local copy is due to go and stays: {}", kept.segment, kept.reason)),
    );
    if attention.is_empty() {
        text.push_str("\nnothing needs attention\n");
    } else {
        text.push_str("\nneeds attention:\n");
        attention.iter().for_each(|line| text.push_str(&human::item(1, line)));
    }
    text
}

/// What the process that writes, or wrote last, told of itself.
struct Live {
    appends: Option<Told<AppendFigures>>,
    sinks: Option<Told<ToldSinks>>,
    /// Sinks that are waited for, and not run with these settings.
    not_named: Vec<SinkNotNamed>,
    abandoned: Vec<AbandonedSink>,
}

impl Live {
    fn lines(&self, now: Timestamp) -> String {
        let ago = |at: Timestamp| {
            let span = Duration::from_micros(u64::try_from(now.micros().saturating_sub(at.micros())).unwrap_or(0));
            format!("{} ago", human::span(span))
        };
        let mut facts = Facts::default();
        if let Some(told) = &self.appends {
            let Told { figures: AppendFigures { total, disk, slowed, held, refused, .. }, .. } = told;
            let micros = |micros: u64| human::span(Duration::from_micros(micros));
            let half = format!("half in {} (disk {})", micros(total.p50_us), micros(disk.p50_us));
            let most = format!("99% in {} (disk {})", micros(total.p99_us), micros(disk.p99_us));
            let count = human::plural(total.count, "append");
            facts = facts.text("appends", format!("{count}, {half}, {most}, told {}", ago(told.at)));
            if slowed + held + refused > 0 {
                let [slowed, held, refused] = [*slowed, *held, *refused].map(human::count);
                facts = facts.text("waited", format!("{slowed} slowed, {held} held, {refused} refused"));
            }
        }
        if let Some(told) = &self.sinks {
            for sink in &told.figures.sinks {
                let records = human::plural(sink.records, "record");
                let attempts = human::plural(sink.attempts, "attempt");
                let rate = sink.success_rate.map_or_else(String::new, |rate| format!(", {:.1}% good", rate * 100.0));
                let failures = human::plural(sink.failures, "failure");
                let waiting = human::plural(sink.waiting_collections, "collection");
                let text = format!(
                    "{}: {records}, {attempts}, {failures}{rate}, {waiting} waiting, told {}",
                    sink.sink,
                    ago(told.at)
                );
                facts = facts.text("sink", text);
            }
        }
        let lines = facts.lines();
        if lines.is_empty() { lines } else { format!("\n{lines}") }
    }

    fn attention(&self) -> Vec<String> {
        let failing = self.sinks.iter().flat_map(|told| &told.figures.sinks);
        let failing = failing.filter(|sink| sink.failing_collections > 0);
        let line = |sink: &SinkStatus| {
            let last = sink.last_failure.as_ref()?;
            let collections = human::plural(sink.failing_collections, "collection");
            let times = human::plural(u64::from(last.times), "time");
            Some(format!("the sink {} fails for {collections}; {} {times}: {}", sink.sink, last.collection, last.error))
        };
        let not_named = |it: &SinkNotNamed| {
            let collections = human::plural(it.collections, "collection");
            let waiting = human::count(it.waiting_collections);
            format!(
                "the sink {} is not in the setting `sinks`: nothing is delivered to it; {collections} subscribe to it, {waiting} of them wait",
                it.sink
            )
        };
        let abandoned = self.abandoned.iter().map(|abandoned| {
            let AbandonedSink { sink, collections, first } = abandoned;
            let collections = human::plural(*collections, "collection");
            format!(
                "the sink {sink} is not subscribed to any more, and {collections} ({first}) are not compacted or evicted behind what it \
                 has: deliver to it again, or delete what it has and run `collection set COLLECTION --forget-sink {sink}`"
            )
        });
        failing.filter_map(line).chain(self.not_named.iter().map(not_named)).chain(abandoned).collect()
    }
}

/// What keeps the catalog, and how far its mirror has come.
fn catalog(status: &Status) -> String {
    let engine = status.catalog.map_or("memory".to_owned(), |engine| engine.to_string());
    match &status.mirror {
        None => engine,
        Some(mirror) if mirror.lag == 0 => format!("{engine}, mirrored by {}", mirror.engine),
        Some(mirror) => {
            format!("{engine}, mirrored by {}, which is {} behind", mirror.engine, human::plural(mirror.lag, "change"))
        }
    }
}

fn unsealed(status: &Status) -> String {
    let (used, limit) = (human::size(status.unsealed_bytes), human::size(status.unsealed_bytes_max));
    format!("{}, {used} of {limit}", human::plural(status.unsealed_records, "record"))
}

fn directories(status: &Status, statistics: &[DirectoryStatistics], homes: &[HomeInfo]) -> String {
    let mut table = Table::new(&[
        ("directory", Align::Left),
        ("id", Align::Left),
        ("state", Align::Left),
        ("collections", Align::Right),
        ("bytes", Align::Right),
        ("free", Align::Right),
    ]);
    for directory in &status.directories {
        let free = directory.free_bytes.map_or_else(|| "?".to_owned(), human::size);
        let held = statistics.iter().find(|held| held.directory == directory.id).map(held_there);
        let (collections, bytes) = held.unwrap_or_default();
        table.row([
            directory.path.display().to_string(),
            directory.id.clone(),
            directory.state.clone(),
            human::count(collections),
            human::size(bytes),
            free,
        ]);
    }
    for home in homes {
        table.row([
            home.url.clone(),
            home.id.clone(),
            if home.drained { "remote, drained" } else { "remote" }.to_owned(),
            human::count(home.collections),
            human::size(home.bytes),
            "-".to_owned(),
        ]);
    }
    format!("\n{}", table.render())
}

/// What waits, what is kept, and what the stores were asked for.
fn archived(archive: &ArchiveOverview, due: Option<&Due>, now: Timestamp) -> String {
    let amount = |segments: u64, bytes: u64| format!("{}, {}", human::plural(segments, "segment"), human::size(bytes));
    let mut waiting = amount(archive.waiting_segments, archive.waiting_bytes);
    if let Some(since) = archive.waiting_since {
        let lag = Duration::from_micros(u64::try_from(now.micros().saturating_sub(since.micros())).unwrap_or(0));
        waiting.push_str(&format!(", the oldest sealed {} ago", human::span(lag)));
    }
    let mut facts = Facts::default()
        .text("archived", amount(archive.archived_segments, archive.archived_bytes))
        .text("waiting", waiting);
    if archive.evicted_segments > 0 {
        facts = facts.text("evicted", amount(archive.evicted_segments, archive.evicted_bytes));
    }
    if let Some(due) = due {
        let kept = due.evicted.kept.len() as u64;
        let stays = if kept > 0 { format!("; {} due, too, and cannot", human::count(kept)) } else { String::new() };
        facts = facts.text("to evict", amount(due.evicted.segments, due.evicted.bytes) + &stays);
    }
    if archive.purging_segments > 0 {
        facts = facts.text("purging", human::plural(archive.purging_segments, "segment"));
    }
    for store in &archive.stores {
        facts = facts.text("store", &store.url);
        if let Some(abilities) = &store.abilities {
            facts = facts.text("can", can(abilities));
        }
        let asked = store.usage.iter().filter(|usage| usage.requests > 0);
        let asked = asked.map(|usage| format!("{} {}", human::count(usage.requests), word(usage.kind)));
        let requests = asked.collect::<Vec<_>>().join(", ");
        facts = facts.text("requests", if requests.is_empty() { "none".to_owned() } else { requests });
        let sum = |of: fn(&Usage) -> u64| human::size(store.usage.iter().map(of).sum());
        let (sent, received) = (sum(|usage| usage.sent_bytes), sum(|usage| usage.received_bytes));
        facts = facts.text("transferred", format!("{sent} sent, {received} received"));
    }
    let (spent, monthly) = (archive.cost.spent(), archive.cost.stored_per_month);
    if spent > 0.0 || monthly > 0.0 {
        let currency = &archive.cost.currency;
        facts = facts.text("cost", format!("{spent:.4} {currency} so far, and {monthly:.4} {currency} a month"));
    }
    format!("\narchive\n{}", facts.lines())
}

fn can(abilities: &Abilities) -> String {
    let words = [
        ("conditional put", abilities.conditional_put),
        ("checks checksums", abilities.checks_checksums),
        ("tells checksums", abilities.tells_checksums),
        ("parts", abilities.multipart),
        ("versions", abilities.versioned),
        ("retention", abilities.retention),
    ];
    words.iter().filter(|(_, can)| *can).map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}

const fn word(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Put => "put",
        RequestKind::Get => "get",
        RequestKind::Head => "head",
        RequestKind::List => "list",
        RequestKind::Delete => "delete",
    }
}

fn archive_attention(archive: &ArchiveOverview) -> Vec<String> {
    let store = |store: &KeptStore| match (&store.fenced, &store.last_error) {
        (Some(why), _) => Some(format!("{}: this log archives and purges there no more: {why}", store.url)),
        (None, Some(why)) => {
            let since = store.failing_since.map_or_else(String::new, |since| format!(" since {since}"));
            Some(format!("{}: archiving fails{since}: {why}", store.url))
        }
        (None, None) => None,
    };
    archive.stores.iter().filter_map(store).collect()
}

fn journals(journals: &[JournalInfo]) -> String {
    if journals.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("journal", Align::Left),
        ("kind", Align::Left),
        ("bytes", Align::Right),
        ("live", Align::Right),
        ("kept by", Align::Left),
    ]);
    for journal in journals {
        table.row([
            journal.path.display().to_string(),
            kind(journal.kind).to_owned(),
            human::size(journal.bytes),
            human::size(journal.live_bytes),
            kept_by(journal),
        ]);
    }
    format!("\n{}", table.render())
}

/// Which of the hot journals takes appends is known only to the process that writes.
pub(super) const fn kind(kind: JournalUse) -> &'static str {
    match kind {
        JournalUse::Active | JournalUse::Hot => "hot",
        JournalUse::Cold => "cold",
    }
}

/// Whose records keep a journal from being released.
pub(super) fn kept_by(journal: &JournalInfo) -> String {
    let names: Vec<&str> = journal.kept_by.iter().map(crate::CollectionName::as_str).collect();
    match journal.kept_by_count.saturating_sub(names.len() as u64) {
        0 if names.is_empty() => "-".to_owned(),
        0 => names.join(", "),
        more => format!("{} and {} more", names.join(", "), human::count(more)),
    }
}

fn attention(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    for directory in &status.directories {
        let path = directory.path.display();
        if let Some(reason) = &directory.reason {
            lines.push(format!("{path}: {}: {reason}", directory.state));
        }
        if directory.poisoned {
            lines.push(format!("{path}: a write or sync failed; check the disk, then reopen the log"));
        }
        lines.extend(directory.unreadable.iter().map(|why| format!("{path}: a journal cannot be read: {why}")));
    }
    lines.extend(
        status.refusing.iter().map(|refusing| format!("{} takes no appends: {}", refusing.collection, refusing.reason)),
    );
    let mirror = status.mirror.as_ref().and_then(|mirror| Some((mirror.engine, mirror.error.as_ref()?)));
    lines.extend(mirror.map(|(engine, why)| format!("the catalog's mirror ({engine}) does not follow: {why}")));
    lines.extend(status.sealing_fails.iter().map(|why| format!("sealing fails: {why}")));
    lines.extend(status.losses.iter().map(|loss| {
        let range = format!("{} {}..={}", loss.collection, loss.first_sequence, loss.last_sequence);
        format!("lost: {range}: {}; `icecore gap acknowledge` takes note of it", loss.reason)
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_a_journal_is_told_in_short() {
        let journal = |names: &[&str], count| JournalInfo {
            path: "j".into(),
            kind: JournalUse::Hot,
            bytes: 0,
            live_runs: 0,
            live_bytes: 0,
            kept_by: names.iter().map(|name| crate::CollectionName::new(name).expect("a good name")).collect(),
            kept_by_count: count,
        };
        assert_eq!(kept_by(&journal(&[], 0)), "-");
        assert_eq!(kept_by(&journal(&["a", "b"], 2)), "a, b");
        assert_eq!(kept_by(&journal(&["a", "b"], 1002)), "a, b and 1,000 more");
    }
}
