//! `icecore search COLLECTION --vector JSON|@FILE`

use std::path::Path;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::cli::human::{self, Align, Table};
use crate::cli::{CommandResult, Context, Exit, Failure, SearchArgs, Stdout, logs, source};
use crate::search::{Hit, Query, Search, SearchOptions};
use crate::{Error, ErrorKind};

/// The longest file with a vector, in bytes: more than any vector has.
const VECTOR_BYTES_MAX: u64 = 4 << 20;

pub(in crate::cli) fn run(context: &Context, args: &SearchArgs) -> CommandResult {
    let vector = read_vector(&args.vector)?;
    let query = Query { vector, k: args.k, metric: args.metric.into(), filter: args.filters.clone() };
    query.check().map_err(usage)?;
    let log = logs::open_to_read(context, Some(&args.collection))?;
    let settings = &context.config.settings().search;
    let options = SearchOptions {
        cache_bytes: settings.cache_bytes.as_len(),
        tail_bytes: settings.tail_bytes.as_len(),
        ..SearchOptions::default()
    };
    let source = source::beside(context, &log)?;
    let search = Search::open(log, source, Arc::clone(&context.clock), options);
    let answer = search.nearest(&args.collection, &query).map_err(logs::explain)?;
    let mut stdout = Stdout::lock();
    if context.json {
        for hit in &answer.hits {
            stdout.line(&object(hit))?;
        }
    } else {
        stdout.write(table(&answer.hits).as_bytes())?;
    }
    stdout.flush()?;
    let found = &answer.statistics;
    tracing::info!(
        through = answer.through.0,
        vectors_compared = found.vectors_compared,
        other_dimensions = found.other_dimensions,
        without_score = found.without_score,
        files = found.files,
        tail_rows = found.tail_rows,
        bytes_read = found.bytes_read,
        "searched"
    );
    if answer.hits.is_empty() {
        context.say("none");
    }
    Ok(Exit::Ok)
}

fn table(hits: &[Hit]) -> String {
    if hits.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("score", Align::Right),
        ("id", Align::Left),
        ("sequence", Align::Right),
        ("metadata", Align::Left),
    ]);
    for hit in hits {
        table.row([
            format!("{:.6}", hit.score),
            human::printable(&hit.id).into_owned(),
            hit.sequence.to_string(),
            human::printable(&hit.metadata).into_owned(),
        ]);
    }
    table.render()
}

/// One line: metadata is JSON and stands as such, with its numbers as they were written.
fn object(hit: &Hit) -> String {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        id: &'a str,
        score: f64,
        sequence: u64,
        metadata: Option<&'a RawValue>,
    }
    let on_one_line = hit.metadata.replace(['\n', '\r'], " ");
    let metadata = serde_json::from_str::<&RawValue>(&on_one_line).ok();
    let line = Line { id: &hit.id, score: hit.score, sequence: hit.sequence.0, metadata };
    serde_json::to_string(&line).expect("texts and numbers")
}

/// A JSON list of numbers, or a file with one.
fn read_vector(text: &str) -> Result<Vec<f32>, Failure> {
    let json = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(path) => read_file(path)?,
    };
    serde_json::from_str(&json).map_err(|error| {
        let message = format!("a query's vector is no json list of numbers; {error}");
        Failure::usage(message, "such as --vector '[0.12, -0.5]', or --vector @FILE")
    })
}

fn read_file(path: &str) -> Result<String, Failure> {
    let bytes = if path == "-" {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(VECTOR_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| Error::new(ErrorKind::Unavailable, "cannot read stdin").with_source(error))?;
        bytes
    } else {
        let file = logs::file_system().open(Path::new(path), crate::fs::OpenMode::Read).map_err(Error::from)?;
        let len = file.len().map_err(Error::from)?;
        if len > VECTOR_BYTES_MAX {
            let message = format!("a file is too long for a vector: path=`{path}`, bytes=`{len}`");
            return Err(Failure::usage(message, "it holds one JSON list of numbers"));
        }
        let mut bytes = vec![0; usize::try_from(len).expect("some MiB")];
        file.read_exact_at(&mut bytes, 0).map_err(Error::from)?;
        bytes
    };
    String::from_utf8(bytes).map_err(|_| {
        Failure::usage(format!("a file with a vector is no text: path=`{path}`"), "it holds one JSON list of numbers")
    })
}

/// What is wrong with a query stands on the command line.
fn usage(error: Error) -> Failure {
    Failure::Error(Exit::Usage, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Sequence;

    #[test]
    fn a_hit_is_one_line_with_its_metadata_as_it_was() {
        let hit = Hit {
            id: "a\"b".to_owned(),
            score: 0.25,
            sequence: Sequence(7),
            metadata: "{\"n\":\n 1.00, \"z\": 1, \"a\": 2}".to_owned(),
        };
        assert_eq!(object(&hit), r#"{"id":"a\"b","score":0.25,"sequence":7,"metadata":{"n":  1.00, "z": 1, "a": 2}}"#);
    }

    #[test]
    fn a_vector_is_a_list_of_numbers() {
        assert_eq!(read_vector("[1, -2.5e0]").unwrap(), [1.0, -2.5]);
        for wrong in ["", "1", "[\"1\"]", "{}", "[1,", "@/nowhere/at/all"] {
            assert!(read_vector(wrong).is_err(), "{wrong}");
        }
    }
}
