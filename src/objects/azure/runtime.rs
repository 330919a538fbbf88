//! Runs the SDK's futures for callers that block.
//!
//! Owns: one small runtime of the process, made at first use and never ended: a runtime that is dropped on a thread of another runtime
//! panics. Who calls waits on a channel, which works from any thread, also from one of another runtime: it blocks that one, as any
//! file access would. Deadlines are `wire`'s.

use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};

/// Runs a task to its end; `None` where the client panicked in it.
///
/// # Errors
/// What the system said when it was to start a thread.
pub(super) fn run<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> Result<Option<T>, &'static io::Error> {
    let (tell, told) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        let _ = tell.send(task.await);
    });
    Ok(told.recv().ok())
}

fn runtime() -> Result<&'static Runtime, &'static io::Error> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let make = || Builder::new_multi_thread().worker_threads(2).thread_name("icecore-azure").enable_all().build();
    RUNTIME.get_or_init(make).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_from_threads_of_other_runtimes_too() {
        let outer = tokio::runtime::Builder::new_current_thread().build().unwrap();
        outer.block_on(async { assert_eq!(run(async { 1 + 1 }).unwrap(), Some(2)) });
    }

    #[test]
    fn a_panic_of_the_client_is_no_hang() {
        assert_eq!(run(async { assert!(std::hint::black_box(false), "on purpose") }).unwrap(), None);
    }
}
