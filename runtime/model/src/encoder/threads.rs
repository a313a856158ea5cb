//! Threads of the encoders' products.

use tract_onnx::prelude::*;

/// Threads for the matrix products inside the encoders.
#[derive(Debug, Clone)]
pub struct Threads(multithread::Executor);

impl Threads {
    /// A pool of `count` threads; one means that the calling thread does the work.
    pub fn new(count: usize) -> Self {
        Self(if count > 1 { multithread::Executor::multithread(count) } else { multithread::Executor::SingleThread })
    }

    /// Does the work on one of the threads: each of its products would wake one otherwise.
    pub(super) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let scope = || multithread::multithread_tract_scope(self.0.clone(), work);
        match &self.0 {
            multithread::Executor::MultiThread(pool) => pool.install(scope),
            _ => scope(),
        }
    }
}
