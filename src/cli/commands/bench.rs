//! `icecore bench`

use std::path::PathBuf;
use std::sync::Arc;

use crate::bench::{Bench, Figure, SYNC_PLAUSIBLE_MIN, Target, Unit, chosen};
use crate::cli::human::{self, Align, Table};
use crate::cli::{BenchArgs, CommandResult, Context, Exit, Stdout, stores};
use crate::fs::OsFileSystem;

pub(in crate::cli) fn run(context: &Context, args: &BenchArgs) -> CommandResult {
    let scenarios = chosen(&args.scenarios)?;
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let mut bench = Bench::begin(Arc::new(OsFileSystem::new()), Arc::clone(&context.clock), &dir)?;
    bench.scale = args.scale;
    let settings = context.config.settings();
    bench.archive = settings.archive.url.clone().map(|location| (location, stores::options(settings)));
    bench.archive_memory_bytes = settings.archive.memory_bytes.0;
    let sync = bench.bare_sync()?;
    if sync < SYNC_PLAUSIBLE_MIN {
        context.say(&format!(
            "warning: a write and sync takes {}, which no disk does: what is written here may not survive a power cut \
             (a memory file system, or syncs that are switched off)",
            human::span(sync)
        ));
    }
    let mut stdout = Stdout::lock();
    let mut table = Table::new(&[
        ("scenario", Align::Left),
        ("what", Align::Left),
        ("icecore", Align::Right),
        ("limit", Align::Right),
        ("ratio", Align::Right),
        ("target", Align::Left),
    ]);
    for scenario in scenarios {
        if context.interrupt.is_wanted() {
            break;
        }
        context.say(&format!("{}: {}", scenario.name, scenario.help));
        for figure in bench.run(scenario)? {
            if context.json {
                stdout.write(format!("{}\n", object(&figure, sync)).as_bytes())?;
                stdout.flush()?;
            }
            table.row([
                figure.scenario.to_owned(),
                figure.what.to_string(),
                shown(figure.unit, figure.icecore),
                figure.limit.map_or_else(|| "-".into(), |limit| shown(figure.unit, limit)),
                figure.ratio().map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")),
                target(&figure),
            ]);
        }
    }
    if !context.json {
        stdout.write(table.render().as_bytes())?;
        stdout.write(format!("\na bare write and sync of 256 bytes: {}\n", human::span(sync)).as_bytes())?;
        stdout.flush()?;
    }
    Ok(Exit::Ok)
}

fn shown(unit: Unit, value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and shown with few digits")]
    let whole = value.round() as u64;
    match unit {
        Unit::Seconds => human::span(std::time::Duration::from_secs_f64(value)),
        Unit::Records => format!("{}/s", human::count(whole)),
        Unit::Bytes => format!("{}/s", human::size(whole)),
        Unit::Memory => human::size(whole),
        Unit::Count => human::count(whole),
    }
}

fn target(figure: &Figure) -> String {
    let aim = match figure.target {
        None => return String::new(),
        Some(Target::RatioAtMost(most)) => format!("at most {most}x"),
        Some(Target::RatioAtLeast(least)) => format!("at least {least}x"),
        Some(Target::AtMost(most)) => format!("at most {}", shown(figure.unit, most)),
        Some(Target::AtLeast(least)) => format!("at least {}", shown(figure.unit, least)),
    };
    if figure.is_reached() == Some(true) { aim } else { format!("{aim}: missed") }
}

fn object(figure: &Figure, sync: std::time::Duration) -> serde_json::Value {
    let unit = match figure.unit {
        Unit::Seconds => "seconds",
        Unit::Records => "records_per_second",
        Unit::Bytes => "bytes_per_second",
        Unit::Memory => "bytes",
        Unit::Count => "count",
    };
    serde_json::json!({
        "scenario": figure.scenario,
        "what": figure.what,
        "unit": unit,
        "icecore": figure.icecore,
        "limit": figure.limit,
        "ratio": figure.ratio(),
        "target_reached": figure.is_reached(),
        "bare_sync_seconds": sync.as_secs_f64(),
    })
}
