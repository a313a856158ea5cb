//! Weights that are needed next.

use crate::dispatch::prefetch;

/// Weights that are needed next, brought nearer while the present ones are worked on: a large layer's come from memory, once a pass.
pub(crate) struct Prefetch<'a, T> {
    left: &'a [T],
    /// Numbers for each tile of rows.
    step: usize,
}

impl<'a, T> Prefetch<'a, T> {
    /// `weights` begin with the `used` numbers that `tiles` tiles of rows are about to be multiplied with; as many follow them.
    pub(crate) fn new(weights: &'a [T], used: usize, tiles: usize) -> Self {
        let left = &weights[used..][..used.min(weights.len() - used)];
        Self { left, step: left.len().div_ceil(tiles.max(1)) }
    }

    /// Fetches a tile's share.
    pub(crate) fn fetch(&mut self) {
        const LINE: usize = 64;
        let (now, left) = self.left.split_at(self.step.min(self.left.len()));
        self.left = left;
        for line in now.chunks(LINE / size_of::<T>()) {
            prefetch(line);
        }
    }
}
