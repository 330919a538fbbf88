//! `icecore doctor`

use crate::cli::{CommandResult, Context, DoctorArgs, Exit, Stdout, human, stores};
use crate::objects::doctor::{Check, Doctor, Finding, Outcome, examine};

pub(in crate::cli) fn run(context: &Context, args: &DoctorArgs) -> CommandResult {
    let location = match &args.url {
        Some(location) => location,
        None => stores::location(context)?,
    };
    let store = stores::open(context, location)?;
    let doctor = examine(&*store);
    let mut stdout = Stdout::lock();
    if context.json {
        stdout.line(&serde_json::to_string(&doctor).expect("plain text and numbers"))?;
    } else {
        stdout.write(shown(&doctor).as_bytes())?;
    }
    stdout.flush()?;
    Ok(if doctor.is_well() { Exit::Ok } else { Exit::Failure })
}

fn shown(doctor: &Doctor) -> String {
    let mut text = format!("store {}\n", human::printable(&doctor.place));
    for finding in &doctor.findings {
        text.push_str(&line(finding));
    }
    if let Some(abilities) = &doctor.abilities {
        let words = [
            ("creates only where a key is free", abilities.conditional_put),
            ("refuses bytes that were damaged on the way", abilities.checks_checksums),
            ("tells checksums of its own", abilities.tells_checksums),
            ("takes objects in parts", abilities.multipart),
            ("keeps versions", abilities.versioned),
            ("can keep objects from being deleted", abilities.retention),
        ];
        for (what, can) in words {
            text.push_str(&format!("  {:<4} {what}\n", if can { "yes" } else { "no" }));
        }
        if let Some(server) = &abilities.server {
            text.push_str(&format!("  server {}\n", human::printable(server)));
        }
    }
    text
}

fn line(finding: &Finding) -> String {
    let outcome = match finding.outcome {
        Outcome::Good => "ok",
        Outcome::Advice => "advice",
        Outcome::Bad => "BAD",
        Outcome::NotTried => "-",
    };
    let mut line = format!("  {outcome:<7} {}", what(finding.check));
    if !finding.said.is_empty() {
        line.push_str(&format!(": {}", human::printable(&finding.said)));
    }
    line.push('\n');
    if let Some(hint) = &finding.hint {
        line.push_str(&format!("          {}\n", human::printable(hint)));
    }
    line
}

const fn what(check: Check) -> &'static str {
    match check {
        Check::Reach => "the store is there, and knows us",
        Check::Put => "make an object",
        Check::List => "list objects",
        Check::Get => "read an object",
        Check::Versions => "see versions of an object",
        Check::Delete => "remove an object",
        Check::NeverReplaced => "an object that is there is never replaced",
        Check::Checksums => "bytes damaged on the way are refused",
        Check::CleanedUp => "nothing of this is left",
    }
}
