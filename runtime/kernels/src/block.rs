//! Blocks of a matrix product, the inner loops of the encoders' layers: some rows times a strip of columns, summed in registers.
//!
//! Rows are read where they lie. Columns lie side by side in strips as wide as the set's registers allow ([`Kernels::strip`]), so that
//! weights are read in order; [`Kernels::depth`] keeps the part of a strip that is in use in the first cache while all rows pass it.

// Plain loops over registers: adaptors that a build does not inline would pass registers through memory.
#![allow(clippy::needless_range_loop)]

use super::lanes::Lanes;
#[cfg(target_arch = "aarch64")]
use super::neon_bytes;
use super::{Isa, Kernels, dispatch, scalar};
#[cfg(target_arch = "x86_64")]
use super::{
    amx,
    avx2::{Avx2, AvxVnni},
    avx512,
};

/// Rows times a strip of columns: `out[m, n] (+)= Σ_k rows[m, k] · weights[k, n]`.
pub(crate) struct Block<'a> {
    pub(crate) rows: &'a [f32],
    /// From one row to the next, in `rows`.
    pub(crate) stride: usize,
    /// How many rows, at most [`Kernels::block_rows`].
    pub(crate) count: usize,
    /// How many numbers of a row.
    pub(crate) depth: usize,
    pub(crate) weights: &'a [f32],
    /// From one `k` to the next, in `weights`.
    pub(crate) pitch: usize,
    /// A multiple of the lanes, at most [`Kernels::strip`].
    pub(crate) columns: usize,
    /// Whether the sums are added to what `out` holds.
    pub(crate) add: bool,
}

impl Block<'_> {
    /// What the kernels rely on.
    fn check(&self, lanes: usize, rows: usize, strip: usize, out: &[f32], out_pitch: usize) {
        assert!(
            (1..=rows).contains(&self.count) && self.columns.is_multiple_of(lanes) && (lanes..=strip).contains(&self.columns),
            "block: expected at most {rows} rows and {strip} columns, found {} and {}",
            self.count,
            self.columns
        );
        let last = self.count - 1;
        assert!(
            self.rows.len() >= last * self.stride + self.depth
                && (self.depth == 0 || self.weights.len() >= (self.depth - 1) * self.pitch + self.columns)
                && out.len() >= last * out_pitch + self.columns,
            "block: lengths differ"
        );
    }
}

/// Rows of bytes times a strip: `out[m, n] (+)= Σ_k rows[m, k] · weights[k / g, n, k % g]`, exactly, with `g` of [`Kernels::group`].
pub(crate) struct ByteBlock<'a> {
    pub(crate) rows: &'a [u8],
    /// From one row to the next, in `rows`.
    pub(crate) stride: usize,
    /// How many rows, at most [`Kernels::block_rows_int8`].
    pub(crate) count: usize,
    /// How many bytes of a row, a multiple of [`STEP`].
    pub(crate) depth: usize,
    pub(crate) weights: &'a [i8], // [depth / group, strip, group]
    /// Whether the sums are added to what `out` holds.
    pub(crate) add: bool,
}

/// Bytes that a step of the kernels on bytes takes from a row.
pub(crate) const STEP: usize = 16;

/// Weights that are needed next, brought nearer while the present ones are worked on: a large layer's come from memory, once a pass.
pub(crate) struct Ahead<'a, T> {
    left: &'a [T],
    /// Numbers for each block of rows.
    step: usize,
}

impl<'a, T> Ahead<'a, T> {
    /// `weights` begin with the `used` numbers that `blocks` blocks of rows are about to be multiplied with; as many follow them.
    pub(crate) fn new(weights: &'a [T], used: usize, blocks: usize) -> Self {
        let left = &weights[used..][..used.min(weights.len() - used)];
        Self { left, step: left.len().div_ceil(blocks.max(1)) }
    }

    /// Fetches a block's share.
    pub(crate) fn fetch(&mut self) {
        const LINE: usize = 64;
        let (now, left) = self.left.split_at(self.step.min(self.left.len()));
        self.left = left;
        for line in now.chunks(LINE / size_of::<T>()) {
            // SAFETY: a hint reads nothing, wherever it points.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line.as_ptr().cast());
            }
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                std::arch::asm!("prfm pldl2keep, [{}]", in(reg) line.as_ptr(), options(nostack, readonly, preserves_flags));
            }
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            let _ = line;
        }
    }
}

impl Kernels {
    /// Columns of a strip.
    pub(crate) fn strip(&self) -> usize {
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) | Isa::Avx512Vnni(_) | Isa::Amx(_) => 64,
            _ => 16,
        }
    }

    /// Bytes of a column that lie together in a strip: those that an instruction adds up in one lane.
    pub(crate) fn group(&self) -> usize {
        match self.isa {
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm(_) => 8,
            _ => 4,
        }
    }

    /// Columns that lie in one register; strips of floats may be any multiple of it.
    pub(crate) fn lanes(&self) -> usize {
        match self.isa {
            Isa::Scalar => 1,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) | Isa::AvxVnni(_) => 8,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) | Isa::Avx512Vnni(_) | Isa::Amx(_) => 16,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) | Isa::NeonDot(_) | Isa::NeonI8mm(_) => 4,
        }
    }

    /// Numbers of a row that a product sums at a time.
    pub(crate) fn depth(&self) -> usize {
        8192 / self.strip().max(32)
    }

    /// Bytes of a row, of what goes in and of sums, that a product goes back to before it goes on to the next weights.
    pub fn row_bytes(&self) -> usize {
        4 * (self.depth() + self.strip())
    }

    /// Rows that a block of floats has; parts of a multiple of it waste nothing.
    pub fn block_rows(&self) -> usize {
        match self.isa {
            Isa::Scalar => 1,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) | Isa::AvxVnni(_) | Isa::Avx512(_) | Isa::Avx512Vnni(_) | Isa::Amx(_) => 6,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) | Isa::NeonDot(_) | Isa::NeonI8mm(_) => 6,
        }
    }

    /// As [`block_rows`](Self::block_rows), of bytes.
    pub(crate) fn block_rows_int8(&self) -> usize {
        match self.isa {
            Isa::Scalar => 1,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) | Isa::Avx512(_) => Avx2::ROWS_INT8,
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni(_) => AvxVnni::ROWS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(_) => avx512::Avx512Vnni::ROWS,
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(_) => amx::Amx::ROWS,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => 2,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(_) => 4,
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm(_) => neon_bytes::NeonI8mm::ROWS,
        }
    }

    /// Parts of a multiple of these rows waste nothing, of bytes: less than a block where that is cut into tiles.
    pub fn part_rows_int8(&self) -> usize {
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(_) => amx::Amx::TILE,
            _ => self.block_rows_int8(),
        }
    }

    /// `out` has `columns` numbers in each of the block's rows, `out_pitch` apart.
    pub(crate) fn block_f32(&self, block: &Block<'_>, out: &mut [f32], out_pitch: usize) {
        block.check(self.lanes(), self.block_rows(), self.strip(), out, out_pitch);
        dispatch!(self, block_f32(block, out, out_pitch));
    }

    /// `out` has a strip for each of the block's rows.
    pub(crate) fn block_int8(&self, block: &ByteBlock<'_>, out: &mut [i32]) {
        let (rows, strip) = (self.block_rows_int8(), self.strip());
        assert!(
            (1..=rows).contains(&block.count)
                && block.depth.is_multiple_of(STEP)
                && block.rows.len() >= (block.count - 1) * block.stride + block.depth
                && block.weights.len() == block.depth * strip
                && out.len() == block.count * strip,
            "block_int8: lengths differ"
        );
        match self.isa {
            Isa::Scalar => scalar::block_int8(block, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(set) => set.block_int8(block, out),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni(set) => set.block_int8(block, out),
            // Without a dot product of bytes the narrower set's products are the best ones.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(set) => set.narrow().block_int8_wide(block, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(set) => set.block_int8(block, out),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx(set) => set.block_int8(block, out),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(set) => set.block_int8(block, out),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot(set) => set.block_int8(block, out),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm(set) => set.block_int8(block, out),
        }
    }
}

/// As `scalar::block_f32`, of at most `M` rows and exactly `R` registers.
///
/// # Safety
/// The processor has the instruction set of `V`; `Block::check` passed.
#[inline(always)]
pub(crate) unsafe fn block_f32<V: Lanes, const M: usize, const R: usize>(block: &Block<'_>, out: &mut [f32], out_pitch: usize) {
    // SAFETY: rows beyond the last are read as the last and not written; all other offsets are those that `Block::check` knows.
    unsafe {
        let mut rows = [block.rows.as_ptr(); M];
        for m in 0..M {
            rows[m] = rows[m].add(m.min(block.count - 1) * block.stride);
        }
        let mut sums = [[V::splat(0.0); R]; M];
        if block.add {
            for m in 0..M {
                if m == block.count {
                    break;
                }
                for r in 0..R {
                    sums[m][r] = V::load(out.as_ptr().add(m * out_pitch + r * V::LANES));
                }
            }
        }
        let mut weights = block.weights.as_ptr();
        for k in 0..block.depth {
            let mut columns = [V::splat(0.0); R];
            for r in 0..R {
                columns[r] = V::load(weights.add(r * V::LANES));
            }
            for m in 0..M {
                let value = V::splat(*rows[m].add(k));
                for r in 0..R {
                    sums[m][r] = sums[m][r].fma(value, columns[r]);
                }
            }
            weights = weights.wrapping_add(block.pitch);
        }
        for m in 0..M {
            if m == block.count {
                break;
            }
            for r in 0..R {
                sums[m][r].store(out.as_mut_ptr().add(m * out_pitch + r * V::LANES));
            }
        }
    }
}
