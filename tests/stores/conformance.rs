//! Every real server does what every store does.

use icecore::objects::conformance;

use super::bucket::Bucket;
use super::servers::Kind;

fn every_promise(kind: Kind) {
    let bucket = Bucket::new(kind);
    conformance::run(&*bucket.store());
    conformance::races(&Bucket::of(bucket.server).store());
}

#[test]
fn minio() {
    every_promise(Kind::Minio);
}

#[test]
fn azurite() {
    every_promise(Kind::Azurite);
}

#[test]
fn seaweedfs() {
    every_promise(Kind::Seaweed);
}
