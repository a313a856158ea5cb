//! Threads of the encoders, of scoring and of masks.
//!
//! A thread of rayon that waits takes other work meanwhile. Inside one picture's plan that would be another picture's plan, which finds
//! the engine's scratch memory of this thread in use. So no plan is ever work that a waiting thread could take: a plan has a pool for
//! itself alone while it runs, and is begun by a thread that is none of rayon's, which sleeps until it is done.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tract_onnx::prelude::multithread::{Executor, multithread_tract_scope};

use crate::{Error, Result};

/// Threads that several callers share: a caller alone has all of them, several have a share each.
#[derive(Debug, Clone)]
pub struct Threads(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    count: usize,
    /// The process that used them first, 0 before: threads do not come along in a fork.
    process: AtomicU32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    callers: usize,
    /// Threads of all callers, one at least for each.
    threads: usize,
    /// Pools that nobody uses.
    idle: Vec<Arc<ThreadPool>>,
}

/// A call, from its first stage to its last: between its stages its share is not given to others, who would hold it for a whole stage.
struct Caller<'a> {
    /// None where the call around this one counts already.
    shared: Option<&'a Shared>,
    around: usize,
}

/// A caller's share, given back when it is done or panics.
struct Share<'a> {
    shared: &'a Shared,
    threads: usize,
    pool: Option<Arc<ThreadPool>>,
}

thread_local! {
    /// Whose caller this thread is, as an address.
    static CALLER_OF: Cell<usize> = const { Cell::new(0) };
}

impl Threads {
    /// More are refused by sessions: no board has them, and each takes memory.
    pub const MOST: usize = 1024;

    /// `count` threads. With one, encoders work on the calling thread, where that is none of rayon's.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Shared { count: count.max(1), process: AtomicU32::new(0), taken: Mutex::default() }))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.count
    }

    /// Runs a call of several stages, each of which takes its share anew.
    ///
    /// # Errors
    /// [`Error::Io`] if a thread is needed and the system starts none, [`Error::Forked`] as [`Self::check_process`].
    pub(crate) fn call<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R> {
        self.check_process(std::process::id())?;
        outside_rayon(|| {
            let _caller = Caller::enter(&self.0);
            work()
        })
    }

    /// # Errors
    /// [`Error::Forked`] where another process than this one used them first: its pools would be waited for for ever.
    fn check_process(&self, here: u32) -> Result<()> {
        match self.0.process.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed) {
            Err(first) if first != here => Err(Error::Forked { first, here }),
            _ => Ok(()),
        }
    }

    /// Runs a plan of the engine, whose products use the caller's share.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(crate) fn run_plan<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R> {
        self.call(|| {
            let share = Share::take(&self.0, 2);
            match &share.pool {
                Some(pool) => pool.install(|| multithread_tract_scope(Executor::MultiThread(pool.clone()), work)),
                None => multithread_tract_scope(Executor::SingleThread, work),
            }
        })
    }

    /// Runs what uses rayon by itself on the caller's share.
    ///
    /// # Errors
    /// [`Error::Io`] if the system starts no thread, and none is idle; [`Error::Forked`] as [`Self::call`].
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R> {
        self.call(|| {
            let share = Share::take(&self.0, 1);
            // Rayon's own threads, which it would have without a pool, are more that cannot be started.
            let pool = share.pool.as_ref().ok_or_else(|| none_left(std::io::ErrorKind::WouldBlock.into()))?;
            Ok(pool.install(work))
        })?
    }
}

/// Runs `work` on a thread that is none of rayon's: this one, or one for this alone, which costs some 30 µs.
fn outside_rayon<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R> {
    if rayon::current_thread_index().is_none() {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("edge-seg call".into()).spawn_scoped(scope, work).map_err(none_left)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// That the system starts no more threads.
pub(super) fn none_left(why: std::io::Error) -> Error {
    Error::Io { path: "threads".into(), source: why }
}

impl<'a> Caller<'a> {
    fn enter(shared: &'a Arc<Shared>) -> Self {
        let around = CALLER_OF.replace(Arc::as_ptr(shared).addr());
        if around == Arc::as_ptr(shared).addr() {
            return Self { shared: None, around };
        }
        let mut taken = shared.taken.lock();
        taken.callers += 1;
        taken.threads += 1;
        Self { shared: Some(shared), around }
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        CALLER_OF.set(self.around);
        if let Some(shared) = self.shared {
            let mut taken = shared.taken.lock();
            taken.callers -= 1;
            taken.threads -= 1;
        }
    }
}

impl<'a> Share<'a> {
    /// A pool that nobody else uses meanwhile, of this caller's fair part as far as others have left it; none where that is below `least`
    /// threads. Where the system starts no more it is whichever there is, if any.
    fn take(shared: &'a Shared, least: usize) -> Self {
        Self::take_with(shared, least, new_pool)
    }

    fn take_with(shared: &'a Shared, least: usize, new_pool: impl Fn(usize) -> Option<Arc<ThreadPool>>) -> Self {
        let mut taken = shared.taken.lock();
        let fair = shared.count.div_ceil(taken.callers.max(1));
        let free = shared.count.saturating_sub(taken.threads) + 1; // with the caller's own
        let threads = fair.min(free);
        taken.threads += threads - 1;
        let idle = taken.idle.iter().position(|pool| pool.current_num_threads() == threads);
        let idle = idle.filter(|_| threads >= least).map(|at| taken.idle.swap_remove(at));
        drop(taken);
        let others = || shared.taken.lock().idle.pop();
        let pool = if threads < least { None } else { idle.or_else(|| new_pool(threads)).or_else(others).or_else(|| new_pool(1)) };
        Self { shared, threads, pool }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut taken = self.shared.taken.lock();
        taken.threads -= self.threads - 1;
        taken.idle.extend(self.pool.take());
        // Room for a pool of all threads and one for each caller; what was used last is the likeliest to be asked for.
        let most = self.shared.count + self.shared.count.max(taken.callers);
        while taken.idle.iter().map(|pool| pool.current_num_threads()).sum::<usize>() > most {
            drop(taken.idle.remove(0));
        }
    }
}

fn new_pool(threads: usize) -> Option<Arc<ThreadPool>> {
    ThreadPoolBuilder::new().num_threads(threads).thread_name(|n| format!("edge-seg-{n}")).build().ok().map(Arc::new)
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
        let alone = || threads.install(rayon::current_num_threads).unwrap();
        assert_eq!(alone(), 4);
        // Shares of callers that are inside a call all at once, of which each has begun a stage since the last one came.
        let shares = |callers: usize| {
            let (inside, sizes) = (Barrier::new(callers), Mutex::new(Vec::new()));
            let call = || {
                let call = threads.call(|| {
                    inside.wait();
                    let stage = threads.install(|| {
                        sizes.lock().push(rayon::current_num_threads());
                        inside.wait();
                    });
                    inside.wait();
                    stage
                });
                call.unwrap().unwrap();
            };
            std::thread::scope(|scope| (0..callers).for_each(|_| drop(scope.spawn(call))));
            let mut sizes = sizes.into_inner();
            sizes.sort_unstable();
            sizes
        };
        assert_eq!(shares(2), [2, 2]);
        assert_eq!(shares(3), [1, 1, 2], "no thread is left over");
        assert_eq!(shares(5), [1; 5]);
        assert_eq!(alone(), 4);
        assert!(threads.0.taken.lock().idle.iter().map(|pool| pool.current_num_threads()).sum::<usize>() <= 8);
    }

    #[test]
    fn a_caller_that_comes_takes_what_is_left_until_the_others_begin_a_stage() {
        let threads = Threads::new(4);
        let (come, done) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let call = threads.call(|| {
                    let first = threads.install(|| {
                        assert_eq!(rayon::current_num_threads(), 4);
                        come.wait();
                        done.wait();
                    });
                    come.wait();
                    let second = threads.install(|| assert_eq!(rayon::current_num_threads(), 2));
                    done.wait();
                    first.and(second)
                });
                call.unwrap().unwrap();
            });
            come.wait();
            let call = threads.call(|| {
                let stage = threads.install(|| {
                    assert_eq!(rayon::current_num_threads(), 1);
                    done.wait();
                });
                come.wait();
                done.wait();
                stage
            });
            call.unwrap().unwrap();
        });
    }

    #[test]
    fn no_plan_is_begun_on_a_thread_that_is_inside_one() {
        thread_local! {
            static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
        }
        let threads = Threads::new(2);
        let plan = || {
            let run = threads.run_plan(|| {
                assert!(!INSIDE.replace(true), "a plan inside a plan");
                // Waits as products do, again and again.
                let sum: usize = (0..20).map(|_| (0..64usize).into_par_iter().map(|n| n % 3).sum::<usize>()).sum();
                INSIDE.set(false);
                sum
            });
            run.unwrap()
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
    fn threads_are_those_of_the_process_that_used_them_first() {
        let threads = Threads::new(2);
        let forked = threads.clone();
        forked.check_process(std::process::id()).unwrap();
        assert_eq!(threads.install(rayon::current_num_threads).unwrap(), 2);
        let other = std::process::id() + 1;
        let said = forked.check_process(other).unwrap_err().to_string();
        assert!(said.contains(&format!("found {other}")) && said.ends_with("make the session after the fork"), "{said}");
        let before = Threads::new(2);
        before.0.process.store(other, Ordering::Relaxed);
        assert!(matches!(before.call(|| 7), Err(Error::Forked { first, .. }) if first == other));
        assert!(matches!(before.install(|| 7), Err(Error::Forked { .. })) && matches!(before.run_plan(|| 7), Err(Error::Forked { .. })));
    }

    #[test]
    fn a_panic_reaches_its_caller_and_leaves_the_threads_in_use() {
        let threads = Threads::new(2);
        for _ in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(|| threads.run_plan(|| std::panic::panic_any("no"))));
            assert!(caught.is_err());
        }
        assert_eq!(threads.install(rayon::current_num_threads).unwrap(), 2);
    }

    /// Run again by itself in a process whose threads would need more memory than there are addresses.
    #[test]
    fn where_no_thread_can_be_started_calls_are_errors() {
        const NAME: &str = "encoder::threads::tests::where_no_thread_can_be_started_calls_are_errors";
        const HUGE: &str = "1152921504606846976";
        if std::env::var("RUST_MIN_STACK").is_ok_and(|bytes| bytes == HUGE) {
            let threads = Threads::new(2);
            let refused = threads.install(|| (0..64usize).into_par_iter().sum::<usize>()).unwrap_err().to_string();
            assert!(refused.starts_with("threads: "), "{refused}");
            assert_eq!(threads.run_plan(|| 7).unwrap(), 7, "a plan runs on the caller's own");
            let pool = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
            let refused = pool.install(|| threads.call(|| 7)).unwrap_err().to_string();
            assert!(refused.starts_with("threads: "), "{refused}");
            return;
        }
        let mut own = std::process::Command::new(std::env::current_exe().unwrap());
        let ran = own.args(["--exact", NAME, "--test-threads=1"]).env("RUST_MIN_STACK", HUGE).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    }

    #[test]
    fn a_pool_that_is_idle_serves_where_no_other_can_be_had() {
        let threads = Threads::new(2);
        let idle = new_pool(3).unwrap();
        threads.0.taken.lock().idle.push(idle);
        let share = Share::take_with(&threads.0, 1, |_| None);
        assert_eq!(share.pool.as_ref().map(|pool| pool.current_num_threads()), Some(3));
    }
}
