//! Does jobs on a few threads, fed by one.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use crate::error::Result;

/// What gives jobs, and takes what became of them; on one thread.
pub(super) trait Feed {
    type Job: Send;
    type Outcome: Send;

    /// The next few jobs; `None` where there are no more.
    fn more(&mut self) -> Result<Option<Vec<Self::Job>>>;

    /// One job is done.
    fn done(&mut self, outcome: Self::Outcome);
}

struct Queue<J> {
    jobs: Mutex<(VecDeque<J>, bool)>,
    changed: Condvar,
}

impl<J> Queue<J> {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<J>, bool)> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<J> {
        let is_waiting = |(jobs, is_over): &mut (VecDeque<J>, bool)| jobs.is_empty() && !*is_over;
        let mut state = self.changed.wait_while(self.lock(), is_waiting).unwrap_or_else(PoisonError::into_inner);
        state.0.pop_front()
    }
}

/// Ends the queue whatever happens, so that nobody waits for ever.
struct Ending<'a, J>(&'a Queue<J>);

impl<J> Drop for Ending<'_, J> {
    fn drop(&mut self) {
        self.0.lock().1 = true;
        self.0.changed.notify_all();
    }
}

/// Does all jobs of `feed`. With one thread that is the caller's, and nothing happens at the same time.
///
/// # Errors
/// What `feed` said, once the jobs under way are done.
pub(super) fn run<F: Feed>(threads: usize, feed: &mut F, work: &(dyn Fn(F::Job) -> F::Outcome + Sync)) -> Result<()> {
    if threads <= 1 {
        while let Some(jobs) = feed.more()? {
            for job in jobs {
                feed.done(work(job));
            }
        }
        return Ok(());
    }
    let queue = Queue { jobs: Mutex::new((VecDeque::new(), false)), changed: Condvar::new() };
    let (told, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        let ending = Ending(&queue);
        for _ in 0..threads {
            let (queue, told) = (&queue, told.clone());
            scope.spawn(move || {
                while let Some(job) = queue.next() {
                    if told.send(work(job)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(told);
        let (mut given, mut failed, mut is_over) = (0_usize, None, false);
        loop {
            // Enough that no thread waits for the catalog.
            if !is_over && queue.lock().0.len() < threads {
                match feed.more() {
                    Ok(Some(jobs)) => {
                        given += jobs.len();
                        queue.lock().0.extend(jobs);
                        queue.changed.notify_all();
                        continue;
                    }
                    Ok(None) => is_over = true,
                    Err(error) => (failed, is_over) = (Some(error), true),
                }
            }
            if given == 0 {
                break;
            }
            let Ok(outcome) = outcomes.recv() else { break };
            given -= 1;
            feed.done(outcome);
        }
        drop(ending);
        failed.map_or(Ok(()), Err)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    struct Numbers {
        next: u64,
        last: u64,
        fails: bool,
        sum: u64,
    }

    impl Feed for Numbers {
        type Job = u64;
        type Outcome = u64;

        fn more(&mut self) -> Result<Option<Vec<u64>>> {
            if self.next > self.last {
                return if self.fails { Err(Error::new(ErrorKind::Internal, "no more")) } else { Ok(None) };
            }
            let jobs: Vec<u64> = (self.next..=self.last).take(3).collect();
            self.next += jobs.len() as u64;
            Ok(Some(jobs))
        }

        fn done(&mut self, outcome: u64) {
            self.sum += outcome;
        }
    }

    #[test]
    fn every_job_is_done_once_also_where_feeding_ends_in_an_error() {
        for threads in [1, 2, 5] {
            for fails in [false, true] {
                for last in [0, 1, 100] {
                    let mut numbers = Numbers { next: 1, last, fails, sum: 0 };
                    assert_eq!(run(threads, &mut numbers, &|job| job).is_err(), fails);
                    assert_eq!(numbers.sum, last * (last + 1) / 2);
                }
            }
        }
    }
}
