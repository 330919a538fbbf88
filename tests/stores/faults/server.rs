//! A server that is killed, started again, or stands still. Each test has one of its own.

use icecore::objects::{ObjectErrorKind, Put};

use super::{Trial, error_of, kind_of, with_every_server};
use crate::admin;
use crate::bucket::Bucket;
use crate::proxy::{Fault, Gate};
use crate::servers::{Kind, own};
use crate::wait_for;

with_every_server!(one_that_is_killed_in_mid_upload, one_that_stands_still);

fn one_that_is_killed_in_mid_upload(kind: Kind) {
    let trial = Trial::of(Bucket::of(own(kind)));
    let server = &trial.bucket.server;
    let store = trial.store();
    let gate = Gate::new();
    trial.proxy.on(1, trial.sends(), Fault::HoldRequest(150_000, gate.clone()));
    let error = std::thread::scope(|scope| {
        let putting = scope.spawn(|| trial.put(&store));
        gate.wait_until_reached();
        server.kill();
        gate.open();
        error_of(putting.join().unwrap())
    });
    assert_eq!(error.kind, trial.in_doubt_while_sending(), "{error:?}");
    // While it is away nothing is told of what it has.
    let away = trial.direct();
    assert_eq!(kind_of(away.head(&trial.key)), ObjectErrorKind::Unavailable);
    assert_eq!(kind_of(away.list("", None, 1)), ObjectErrorKind::Unavailable);
    assert_eq!(kind_of(trial.put(&away)), ObjectErrorKind::Unavailable);
    server.restart();
    // The emulator writes down which containers it has only now and then.
    admin::create_bucket(server, &trial.bucket.name);
    trial.nothing_is_there();
    trial.the_next_try(&store, Put::Created);
    if kind == Kind::Azurite {
        // It says so itself: nothing of its state is safe from a kill.
        return;
    }
    server.kill();
    server.restart();
    wait_for("what was stored is there again", || trial.direct().get(&trial.key, 1 << 20).ok());
    trial.the_next_try(&store, Put::SameThere);
}

fn one_that_stands_still(kind: Kind) {
    let trial = Trial::of(Bucket::of(own(kind)));
    let server = &trial.bucket.server;
    let (store, impatient) = (trial.store(), trial.impatient());
    server.pause();
    assert_eq!(kind_of(trial.put(&impatient)), trial.in_doubt_while_sending());
    assert_eq!(kind_of(impatient.head(&trial.key)), ObjectErrorKind::Unavailable);
    assert_eq!(kind_of(impatient.list("", None, 1)), ObjectErrorKind::Unavailable);
    server.unpause();
    // The put that we gave up is still on its way: until it has come or gone, the store may say that it is busy with the key.
    let put = wait_for("a put after the pause", || match trial.put(&store) {
        Ok(put) => Some(put),
        Err(error) => {
            assert!(matches!(error.kind, ObjectErrorKind::Unavailable | ObjectErrorKind::OutcomeUnknown), "{error:?}");
            None
        }
    });
    assert!(matches!(put, Put::Created | Put::SameThere), "{put:?}");
    trial.the_object_is_there();
    server.pause();
    assert_eq!(kind_of(impatient.get(&trial.key, 1 << 20)), ObjectErrorKind::Unavailable);
    assert_eq!(kind_of(impatient.delete(&trial.key)), ObjectErrorKind::OutcomeUnknown);
    server.unpause();
    // A put that was given up may come as late as it likes: what it made goes, too.
    wait_for("the object is gone", || {
        store.delete(&trial.key).ok()?;
        trial.direct().head(&trial.key).err().filter(|error| error.is_not_found())
    });
}
