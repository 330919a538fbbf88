//! Runs the client's futures for callers that block.
//!
//! Owns: one small runtime of the process, two threads, made at first use and never ended. One for all stores and not one each: a log may
//! have dozens of places in object stores, their requests wait for the network nearly all the time, and a runtime that is never dropped
//! is never dropped where that is not allowed. Whoever calls waits on a channel: that works from any thread, also from one of another
//! runtime, which it blocks as any file access would.
//!
//! Promise 10 is kept here: a future that is not done at its deadline is dropped, and its connection with it.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::errors::Failure;

/// What a request gives.
pub(super) type Outcome<T> = Result<T, Failure>;

/// A request that is under way.
pub(super) struct Pending<T>(Receiver<Outcome<T>>);

impl<T> Pending<T> {
    /// Waits for the end of it.
    pub(super) fn wait(self) -> Outcome<T> {
        // Nothing sent: the task ended by a panic of the client. Whether anything was sent, nobody knows.
        self.0.recv().unwrap_or_else(|_| Err(Failure::NoAnswer("the client failed inside".to_owned())))
    }
}

/// Starts a request, which ends after `deadline` at the latest.
pub(super) fn start<T: Send + 'static>(
    deadline: Duration,
    request: impl Future<Output = Outcome<T>> + Send + 'static,
) -> Pending<T> {
    // Room for the one result: the task never waits for who takes it, nor needs anybody to.
    let (tell, told) = sync_channel(1);
    match runtime() {
        Ok(runtime) => {
            runtime.spawn(async move {
                let late = |_| {
                    Err(Failure::NoAnswer(format!("no whole answer in time: seconds=`{}`", deadline.as_secs_f32())))
                };
                let _ = tell.send(tokio::time::timeout(deadline, request).await.unwrap_or_else(late));
            });
        }
        Err(error) => {
            let _ = tell.send(Err(Failure::NotSent { what: format!("no threads for it: {error}"), trouble: None }));
        }
    }
    Pending(told)
}

fn runtime() -> Result<&'static Runtime, &'static io::Error> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let make = || Builder::new_multi_thread().worker_threads(2).thread_name("icecore-s3").enable_all().build();
    RUNTIME.get_or_init(make).as_ref()
}
