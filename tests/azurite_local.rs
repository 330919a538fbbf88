#![cfg(feature = "azure")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]
use bytes::Bytes;
use icecore::objects::{azure::AzureObjectStore, conformance, options::*, *};
use icecore::types::{Secret, Timestamp};
use std::sync::Arc;

fn open(prefix: &str, f: impl FnOnce(&mut StoreOptions)) -> AzureObjectStore {
    let mut options = StoreOptions::default();
    options.azure.connection_string = Some(Secret::new("UseDevelopmentStorage=true"));
    options.azure.endpoint = Some("http://127.0.0.1:10010/devstoreaccount1".into());
    f(&mut options);
    let location: Location = format!("az://devstoreaccount1/box{prefix}").parse().unwrap();
    let fs: Arc<dyn icecore::fs::FileSystem> = Arc::new(icecore::fs::OsFileSystem::new());
    let clock: Arc<dyn icecore::clock::Clock> = Arc::new(icecore::clock::SystemClock::new());
    AzureObjectStore::with_environment(&location, &options, &fs, &clock, &|_| None).unwrap()
}
fn key(t: &str) -> ObjectKey {
    ObjectKey::new(t).unwrap()
}
fn usage(s: &AzureObjectStore) -> String {
    s.meter().all().iter().map(|u| format!("{:?}={}/{} ", u.kind, u.requests, u.failed)).collect()
}

#[test]
fn conform() {
    let s = open("/conf ü+x", |_| {});
    s.create_container().unwrap();
    conformance::run(&s);
    println!("{}", usage(&s));
}
#[test]
fn conform_parts() {
    let s = open("/parts", |o| {
        o.multipart_bytes = 1000;
        o.part_bytes = 1 << 20;
    });
    s.create_container().unwrap();
    conformance::run(&s);
    println!("{}", usage(&s));
}
#[test]
fn race() {
    let s = open("/race", |_| {});
    s.create_container().unwrap();
    let s: Arc<dyn ObjectStore> = Arc::new(s);
    conformance::races(&s);
}
#[test]
fn race_parts() {
    let s = open("/race2", |o| {
        o.multipart_bytes = 1000;
        o.part_bytes = 3000;
    });
    s.create_container().unwrap();
    let s: Arc<dyn ObjectStore> = Arc::new(s);
    conformance::races(&s);
}
#[test]
fn probe_and_more() {
    let s = open("/probe", |_| {});
    s.create_container().unwrap();
    println!("{:?}", s.probe().unwrap());
    println!("{}", usage(&s));
    let big = Bytes::from(vec![7_u8; 64 << 20]);
    let up = Upload::of_bytes(&big);
    let t = std::time::Instant::now();
    println!("before {}", usage(&s));
    println!("{:?}", s.put_if_absent(&key("big"), &up));
    println!("put {:?} {}", t.elapsed(), usage(&s));
    println!("{:?}", s.prove(&key("big"), &up));
    println!("prove {:?} {}", t.elapsed(), usage(&s));
    println!("{:?}", s.put_if_absent(&key("big"), &up));
    println!("again {:?} {}", t.elapsed(), usage(&s));
    println!("{:?}", s.get(&key("big"), 64 << 20).unwrap().len());
    println!("get {:?} {}", t.elapsed(), usage(&s));
    println!("{:?}", s.versions(&key("big")));
    println!("{:?}", s.versions(&key("none")));
    let r = Upload { retain_until: Some(Timestamp(4_000_000_000_000_000)), ..up };
    println!("retain new {:?}", s.put_if_absent(&key("retained"), &r));
    println!("retain there {:?}", s.head(&key("retained")));
    println!("retain same {:?}", s.put_if_absent(&key("big"), &r));
    let bad = open("/probe", |o| {
        o.azure.connection_string = None;
        o.azure.account_key = Some(Secret::new("aHVudGVyMg=="));
    });
    println!("bad key {:?}", bad.head(&key("big")));
    println!("bad key {:?}", bad.get(&key("big"), 1));
    let newer = open("/probe", |o| o.azure.service_version = Some("2026-04-06".into()));
    println!("newer {:?}", newer.get(&key("big"), 1));
    let cool = open("/cool", |o| o.storage_class = Some("Cool".into()));
    println!("cool {:?}", cool.put_if_absent(&key("c"), &Upload::of_bytes(&Bytes::from_static(b"x"))));
    let nowhere: Location = "az://devstoreaccount1/nowhere/x".parse().unwrap();
    let mut options = StoreOptions::default();
    options.azure.connection_string = Some(Secret::new("UseDevelopmentStorage=true"));
    options.azure.endpoint = Some("http://127.0.0.1:10010/devstoreaccount1".into());
    let fs: Arc<dyn icecore::fs::FileSystem> = Arc::new(icecore::fs::OsFileSystem::new());
    let clock: Arc<dyn icecore::clock::Clock> = Arc::new(icecore::clock::SystemClock::new());
    let n = AzureObjectStore::with_environment(&nowhere, &options, &fs, &clock, &|_| None).unwrap();
    println!("nowhere head {:?}", n.head(&key("c")));
    println!("nowhere get {:?}", n.get(&key("c"), 1));
    println!("nowhere put {:?}", n.put_if_absent(&key("c"), &up));
    println!("nowhere list {:?}", n.list("", None, 1));
    println!("nowhere delete {:?}", n.delete(&key("c")));
    println!("nowhere versions {:?}", n.versions(&key("c")));
}
