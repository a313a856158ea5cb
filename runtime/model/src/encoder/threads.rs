//! Threads of the encoders, of scoring and of masks.
//!
//! A thread of rayon that waits takes other work meanwhile. Inside one picture's plan that would be another picture's plan, which finds
//! the engine's scratch memory of this thread in use. So no plan is ever work that a waiting thread could take: a plan has a pool for
//! itself alone while it runs, and is begun by a thread that is none of rayon's, which sleeps until it is done.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tract_onnx::prelude::multithread::{Executor, multithread_tract_scope};

/// Threads that several callers share: a caller alone has all of them, several have a share each.
#[derive(Debug, Clone)]
pub struct Threads(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    count: usize,
    callers: AtomicUsize,
    idle: Mutex<Vec<Arc<ThreadPool>>>,
}

/// A caller's share, given back when it is done or panics.
struct Share<'a> {
    shared: &'a Shared,
    pool: Option<Arc<ThreadPool>>,
}

impl Threads {
    /// More are refused by sessions: no board has them, and each takes memory.
    pub const MOST: usize = 1024;

    /// `count` threads. With one, encoders work on the calling thread, where that is none of rayon's.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Shared { count: count.max(1), callers: AtomicUsize::new(0), idle: Mutex::default() }))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.count
    }

    /// Runs a plan of the engine, whose products use the caller's share.
    pub(crate) fn run_plan<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        outside_rayon(|| {
            let share = Share::take(&self.0, 2);
            match &share.pool {
                Some(pool) => pool.install(|| multithread_tract_scope(Executor::MultiThread(pool.clone()), work)),
                None => multithread_tract_scope(Executor::SingleThread, work),
            }
        })
    }

    /// Runs what uses rayon by itself on the caller's share.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        outside_rayon(|| {
            let share = Share::take(&self.0, 1);
            match &share.pool {
                Some(pool) => pool.install(work),
                None => work(),
            }
        })
    }
}

/// Runs `work` on a thread that is none of rayon's: this one, or one for this alone, which costs some 30 µs.
fn outside_rayon<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_none() {
        return work();
    }
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

impl<'a> Share<'a> {
    /// A pool that nobody else uses meanwhile; none where the share is below `least` threads, or the system starts no more.
    fn take(shared: &'a Shared, least: usize) -> Self {
        let callers = shared.callers.fetch_add(1, Ordering::Relaxed) + 1;
        // Halves, quarters and so on, so that few sizes of pools are kept.
        let threads = (shared.count / callers.next_power_of_two()).max(1);
        let pool = (threads >= least).then(|| shared.pool(threads)).flatten();
        Self { shared, pool }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.shared.callers.fetch_sub(1, Ordering::Relaxed);
        if let Some(pool) = self.pool.take() {
            self.shared.idle.lock().push(pool);
        }
    }
}

impl Shared {
    fn pool(&self, threads: usize) -> Option<Arc<ThreadPool>> {
        let mut idle = self.idle.lock();
        if let Some(at) = idle.iter().position(|pool| pool.current_num_threads() == threads) {
            return Some(idle.swap_remove(at));
        }
        drop(idle);
        ThreadPoolBuilder::new().num_threads(threads).thread_name(|n| format!("edge-seg-{n}")).build().ok().map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn callers_share_and_a_caller_alone_has_all() {
        let threads = Threads::new(4);
        let alone = || threads.install(rayon::current_num_threads);
        assert_eq!(alone(), 4);
        let (both, sizes) = (Barrier::new(2), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    threads.install(|| {
                        both.wait();
                        sizes.lock().push(rayon::current_num_threads());
                    })
                });
            }
        });
        let mut sizes = sizes.into_inner();
        sizes.sort_unstable();
        assert_eq!(sizes, [2, 4], "the first had all");
        assert_eq!(alone(), 4);
    }

    #[test]
    fn no_plan_is_begun_on_a_thread_that_is_inside_one() {
        thread_local! {
            static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
        }
        let threads = Threads::new(2);
        let plan = || {
            threads.run_plan(|| {
                assert!(!INSIDE.replace(true), "a plan inside a plan");
                // Waits as products do, again and again.
                let sum: usize = (0..20).map(|_| (0..64usize).into_par_iter().map(|n| n % 3).sum::<usize>()).sum();
                INSIDE.set(false);
                sum
            })
        };
        let expected = 20 * (0..64).map(|n| n % 3).sum::<usize>();
        let callers = ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        assert!(callers.install(|| (0..400).into_par_iter().all(|_| plan() == expected)));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| assert_eq!(plan(), expected)));
            }
        });
    }

    #[test]
    fn a_panic_reaches_its_caller_and_leaves_the_threads_in_use() {
        let threads = Threads::new(2);
        for _ in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(|| threads.run_plan(|| std::panic::panic_any("no"))));
            assert!(caught.is_err());
        }
        assert_eq!(threads.install(rayon::current_num_threads), 2);
    }
}
