//! Threads that decode a source's pictures: as many as the session that reads it may have, in place of rayon's global ones.

use std::cell::{Cell, OnceCell};

use rayon::{ThreadPool, ThreadPoolBuilder};

thread_local! {
    /// How many decode what this thread reads; none where it reads for no session.
    static COUNT: Cell<Option<usize>> = const { Cell::new(None) };
    static POOL: OnceCell<Option<ThreadPool>> = const { OnceCell::new() };
}

/// From here on what this thread reads is decoded by so many threads, which start with the first picture that needs them. This one is
/// none of them: a source of somebody else's may hand work to rayon and wait for it here, where no work is taken meanwhile.
pub(crate) fn decode_on(threads: usize) {
    COUNT.set(Some(threads));
}

/// Runs `work`, which uses rayon, on this thread's decoders.
pub(super) fn on_decoders<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let Some(count) = COUNT.get() else { return work() };
    let new = || ThreadPoolBuilder::new().num_threads(count).thread_name(|_| "edge-seg source".into()).build().ok();
    POOL.with(|pool| match pool.get_or_init(new) {
        Some(pool) => pool.install(work),
        None => work(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_decoded_for_a_session_runs_on_its_threads() {
        let inside = || (rayon::current_thread_index().is_some(), rayon::current_num_threads());
        std::thread::spawn(move || {
            assert!(!on_decoders(inside).0);
            decode_on(3);
            assert_eq!(on_decoders(inside), (true, 3));
            assert!(rayon::current_thread_index().is_none());
        })
        .join()
        .unwrap();
    }
}
