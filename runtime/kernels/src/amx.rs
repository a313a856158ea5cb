//! Kernels for AMX: tiles of 16 rows of 64 bytes, multiplied by a unit of their own. Everything else is AVX-512's.
//!
//! The compiler's own functions for tiles are not stable, so the loop is written in assembly.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

use super::avx512::{Avx512, Avx512Vnni};
use super::block::ByteBlock;

/// The proof that the processor has tiles of bytes, and that the system lets this process use them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amx(Avx512Vnni);

/// Bytes of a row that a tile holds.
const DEEP: usize = 64;

const TILE: usize = Amx::TILE;

/// How the tiles are cut, as `ldtilecfg` reads it.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 8],
    no_row_bytes: [u16; 8],
    rows: [u8; 8],
    no_rows: [u8; 8],
}

/// All eight tiles whole.
static SHAPES: Shapes = Shapes {
    palette: 1,
    start: 0,
    reserved: [0; 14],
    row_bytes: [DEEP as u16; 8],
    no_row_bytes: [0; 8],
    rows: [TILE as u8; 8],
    no_rows: [0; 8],
};

impl Amx {
    /// Rows of a tile.
    pub(crate) const TILE: usize = 16;
    /// Rows of a block.
    pub(crate) const ROWS: usize = 4 * Self::TILE;

    pub(crate) fn detect() -> Option<Self> {
        let vnni = Avx512Vnni::detect()?;
        let found = __cpuid_count(7, 0).edx;
        let (tiles, bytes) = (1 << 24, 1 << 25);
        (found & (tiles | bytes) == tiles | bytes && permitted()).then_some(Self(vnni))
    }

    /// The kernels on bytes without tiles.
    pub(crate) fn bytes(self) -> Avx512Vnni {
        self.0
    }

    /// The kernels on floats.
    pub(crate) fn floats(self) -> Avx512 {
        self.0.floats()
    }

    /// As `scalar::block_int8`.
    pub(crate) fn block_int8(self, block: &ByteBlock<'_>, out: &mut [i32]) {
        let (strip, whole) = (out.len() / block.count, block.depth - block.depth % DEEP);
        let full = if whole > 0 { block.count - block.count % TILE } else { 0 };
        let (tiled, rest) = out.split_at_mut(full * strip);
        if full > 0 {
            // SAFETY: `self` proves the features; `Kernels::block_int8` has checked the lengths.
            unsafe { tiles(&ByteBlock { count: full, depth: whole, ..*block }, tiled) }
            self.untiled(&ByteBlock { count: full, ..*block }, whole, tiled);
        }
        let first = full * block.stride;
        self.untiled(&ByteBlock { rows: &block.rows[first.min(block.rows.len())..], count: block.count - full, ..*block }, 0, rest);
    }

    /// The bytes of each row from `from` on, without tiles.
    fn untiled(self, block: &ByteBlock<'_>, from: usize, out: &mut [i32]) {
        if block.count == 0 || from == block.depth {
            return;
        }
        let strip = out.len() / block.count;
        for (part, out) in out.chunks_mut(Avx512Vnni::ROWS * strip).enumerate() {
            let part = ByteBlock {
                rows: &block.rows[part * Avx512Vnni::ROWS * block.stride + from..],
                count: out.len() / strip,
                depth: block.depth - from,
                weights: &block.weights[from * strip..],
                add: block.add || from > 0,
                ..*block
            };
            self.0.block_int8(&part, out);
        }
    }
}

/// Asks the system for the tiles: they make a process's state larger, so Linux gives them to those that ask.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const REQUEST: usize = 0x1023;
    const TILES: usize = 18;
    let result: isize;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL as isize => result,
            in("rdi") REQUEST,
            in("rsi") TILES,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Whole tiles of rows times a strip of 64 columns.
///
/// # Safety
/// The processor has AMX and this process may use it; lengths are as `Kernels::block_int8` asserts, for strips of 64, a multiple of
/// [`TILE`] rows and a depth above 0 that is a multiple of [`DEEP`].
unsafe fn tiles(block: &ByteBlock<'_>, out: &mut [i32]) {
    // SAFETY: a palette that all processors with AMX have, and 16 rows of 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &SHAPES, options(nostack, readonly)) }
    for from in (0..block.count).step_by(TILE) {
        // SAFETY: tiles 0 to 3 are 16 rows of a strip's 64 sums; tile 4 is 16 rows of 64 bytes, `stride` apart; 5 to 7 are 16 quads of
        // 16 columns, 256 bytes apart, and a step passes 4 KiB of weights. Nothing else uses tiles.
        unsafe {
            asm!(
                "test {add}, {add}",
                "jnz 2f",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "jmp 3f",
                "2:",
                "tileloadd tmm0, [{out} + {pitch}]",
                "tileloadd tmm1, [{out} + {pitch} + 64]",
                "tileloadd tmm2, [{out} + {pitch} + 128]",
                "tileloadd tmm3, [{out} + {pitch} + 192]",
                "3:",
                "tileloadd tmm4, [{rows} + {stride}]",
                "tileloadd tmm5, [{weights} + {pitch}]",
                "tdpbusd tmm0, tmm4, tmm5",
                "tileloadd tmm6, [{weights} + {pitch} + 64]",
                "tdpbusd tmm1, tmm4, tmm6",
                "tileloadd tmm7, [{weights} + {pitch} + 128]",
                "tdpbusd tmm2, tmm4, tmm7",
                "tileloadd tmm5, [{weights} + {pitch} + 192]",
                "tdpbusd tmm3, tmm4, tmm5",
                "add {rows}, 64",
                "add {weights}, 4096",
                "dec {steps}",
                "jnz 3b",
                "tilestored [{out} + {pitch}], tmm0",
                "tilestored [{out} + {pitch} + 64], tmm1",
                "tilestored [{out} + {pitch} + 128], tmm2",
                "tilestored [{out} + {pitch} + 192], tmm3",
                add = in(reg) usize::from(block.add),
                out = in(reg) out.as_mut_ptr().add(64 * from),
                pitch = in(reg) 256usize,
                rows = inout(reg) block.rows.as_ptr().add(from * block.stride) => _,
                stride = in(reg) block.stride,
                weights = inout(reg) block.weights.as_ptr() => _,
                steps = inout(reg) block.depth / DEEP => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
    // SAFETY: gives the tiles back, so that the system need not keep them.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}
