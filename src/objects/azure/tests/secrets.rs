//! Nothing that is printed, logged or returned holds a credential: everything is traced at the lowest level, and searched.

use std::fmt::Write;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::server::{Answer, Server, refusal, status};
use super::*;
use crate::error::Error;
use crate::objects::{ObjectError, ObjectStore, Upload};

/// All that any library traces.
static TRACED: Mutex<String> = Mutex::new(String::new());

struct Everything;

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        writeln!(self.0, "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Everything {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.target().starts_with("icecore") || metadata.target().contains("objects")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Text(&mut TRACED.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Text(&mut TRACED.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Text(&mut TRACED.lock().unwrap()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn shown(error: ObjectError) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let error = Error::from(error);
    write!(text, "{error} {error:?}").unwrap();
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    while let Some(one) = source {
        write!(text, "{one} {one:?}").unwrap();
        source = one.source();
    }
    text
}

/// Every call, with every kind of failure; all that was shown.
fn everything(set: impl Fn(&mut StoreOptions)) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut signatures = Vec::new();
    let answers: [fn() -> Answer; 6] = [
        || refusal(403, "AuthenticationFailed"),
        || refusal(500, "InternalError"),
        || Answer::Close,
        || Answer::Hang,
        || Answer::Truncated(100, "x".into()),
        || Answer::Reply(200, Vec::new(), "neither xml nor bytes".into()),
    ];
    for answer in answers {
        let server = Server::new([]);
        let store = store_with(&server, |options| {
            options.request_timeout = Duration::from_millis(300);
            set(options);
        });
        write!(text, "{store:?} {}", store.place()).unwrap();
        let data = bytes("abc");
        let upload = Upload::of_bytes(&data);
        let mut keep = |server: &Server, outcome: Result<(), ObjectError>| {
            if let Err(error) = outcome {
                text += &shown(error);
            }
            signatures
                .extend(server.asked().iter().filter_map(|asked| asked.header("authorization").map(str::to_owned)));
        };
        for call in 0..8 {
            // A call that ends before it came to the answer leaves it to the next.
            server.then([answer()]);
            let outcome = match call {
                0 => store.put_if_absent(&key("a"), &upload).map(drop),
                1 => store.get(&key("a"), 10).map(drop),
                2 => store.get_range(&key("a"), 0, 2).map(drop),
                3 => store.head(&key("a")).map(drop),
                4 => store.list("a", None, 3).map(drop),
                5 => store.delete(&key("a")),
                6 => store.prove(&key("a"), &upload).map(drop),
                _ => store.versions(&key("a")).map(drop),
            };
            keep(&server, outcome);
        }
        server.then([status(201), answer()]);
        keep(&server, store.put_if_absent(&key("a"), &upload).map(drop));
    }
    (text, signatures)
}

#[test]
fn no_credential_shows_anywhere() {
    // Other tests of the process are traced too, which does no harm.
    let _ = tracing::subscriber::set_global_default(Everything);
    let (mut text, none) = everything(|_| {});
    assert_eq!(none, Vec::<String>::new(), "a shared access signature goes without a header");
    let key = azure_core::base64::encode(SECRET);
    let (by_key, signatures) = everything(|options| {
        options.azure.sas = None;
        options.azure.account_key = Some(Secret::new(&key));
    });
    text += &by_key;
    let (by_string, more) = everything(|options| {
        options.azure.sas = None;
        options.azure.connection_string = Some(Secret::new(format!("AccountName=acct;AccountKey={key}")));
    });
    text += &by_string;
    assert!(signatures.len() > 20 && more.len() > 20);
    let traced = TRACED.lock().unwrap().clone();
    assert!(traced.contains("==> Request") && traced.contains("/acct/box/a"), "nothing was traced");
    for (what, text) in [("errors", &text), ("traces", &traced)] {
        for secret in [SECRET, &key]
            .into_iter()
            .chain(signatures.iter().chain(&more).map(|header| &header["SharedKey acct:".len()..]))
        {
            assert!(!text.contains(secret), "{what} hold `{secret}`");
        }
    }
}
