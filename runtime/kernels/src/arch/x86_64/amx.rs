//! Kernels for AMX: tiles of 16 rows of 64 bytes, multiplied by a unit of their own. Everything else is AVX-512's.
//!
//! The compiler's own functions for tiles are not stable, so the loop is written in assembly.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

use super::avx512::Avx512Vnni;
use crate::isa::{Int8Kernels, Int8Sizes};
use crate::operands::TileInt8;

/// The proof that the processor has tiles of bytes, and that the system lets this process use them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amx(Avx512Vnni);

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
    const TILE: usize = 16;
    /// Rows of a tile.
    const ROWS: usize = 4 * Self::TILE;

    pub(super) fn detect(vnni: Avx512Vnni) -> Option<Self> {
        let found = __cpuid_count(7, 0).edx;
        let (tiles, bytes) = (1 << 24, 1 << 25);
        (found & (tiles | bytes) == tiles | bytes && permitted()).then_some(Self(vnni))
    }

    /// The bytes of each row from `from` on, without tiles.
    fn untiled(&self, tile: &TileInt8<'_>, from: usize, out: &mut [i32]) {
        if tile.count == 0 || from == tile.depth {
            return;
        }
        let panel = out.len() / tile.count;
        for (part, out) in out.chunks_mut(Avx512Vnni::ROWS * panel).enumerate() {
            let part = TileInt8 {
                rows: &tile.rows[part * Avx512Vnni::ROWS * tile.rows_ld + from..],
                count: out.len() / panel,
                depth: tile.depth - from,
                weights: &tile.weights[from * panel..],
                add: tile.add || from > 0,
                ..*tile
            };
            // SAFETY: a part of the tile's rows, bytes and weights, and the sums of those rows.
            unsafe { self.0.gemm(&part, out) }
        }
    }
}

impl Int8Kernels for Amx {
    fn sizes(&self) -> Int8Sizes {
        Int8Sizes { tile_rows: Self::ROWS, part_rows: TILE, group: 4, levels: 255, shift: 0 }
    }

    unsafe fn gemm(&self, tile: &TileInt8<'_>, out: &mut [i32]) {
        let (panel, whole) = (out.len() / tile.count, tile.depth - tile.depth % DEEP);
        let full = if whole > 0 { tile.count - tile.count % TILE } else { 0 };
        let (tiled, rest) = out.split_at_mut(full * panel);
        if full > 0 {
            // SAFETY: `self` proves the features; lengths are as the trait asks.
            unsafe { tiles(&TileInt8 { count: full, depth: whole, ..*tile }, tiled) }
            self.untiled(&TileInt8 { count: full, ..*tile }, whole, tiled);
        }
        let first = full * tile.rows_ld;
        self.untiled(&TileInt8 { rows: &tile.rows[first.min(tile.rows.len())..], count: tile.count - full, ..*tile }, 0, rest);
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

/// Whole tiles of rows times a panel of 64 columns.
///
/// # Safety
/// The processor has AMX and this process may use it; lengths are as `TileInt8::check` asserts, for panels of 64, a multiple of
/// [`TILE`] rows and a depth above 0 that is a multiple of [`DEEP`].
unsafe fn tiles(tile: &TileInt8<'_>, out: &mut [i32]) {
    // SAFETY: a palette that all processors with AMX have, and 16 rows of 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &SHAPES, options(nostack, readonly)) }
    for from in (0..tile.count).step_by(TILE) {
        // SAFETY: tiles 0 to 3 are 16 rows of a panel's 64 sums; tile 4 is 16 rows of 64 bytes, `rows_ld` apart; 5 to 7 are 16 quads of
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
                "tileloadd tmm0, [{out} + {ld}]",
                "tileloadd tmm1, [{out} + {ld} + 64]",
                "tileloadd tmm2, [{out} + {ld} + 128]",
                "tileloadd tmm3, [{out} + {ld} + 192]",
                "3:",
                "tileloadd tmm4, [{rows} + {rows_ld}]",
                "tileloadd tmm5, [{weights} + {ld}]",
                "tdpbusd tmm0, tmm4, tmm5",
                "tileloadd tmm6, [{weights} + {ld} + 64]",
                "tdpbusd tmm1, tmm4, tmm6",
                "tileloadd tmm7, [{weights} + {ld} + 128]",
                "tdpbusd tmm2, tmm4, tmm7",
                "tileloadd tmm5, [{weights} + {ld} + 192]",
                "tdpbusd tmm3, tmm4, tmm5",
                "add {rows}, 64",
                "add {weights}, 4096",
                "dec {steps}",
                "jnz 3b",
                "tilestored [{out} + {ld}], tmm0",
                "tilestored [{out} + {ld} + 64], tmm1",
                "tilestored [{out} + {ld} + 128], tmm2",
                "tilestored [{out} + {ld} + 192], tmm3",
                add = in(reg) usize::from(tile.add),
                out = in(reg) out.as_mut_ptr().add(64 * from),
                ld = in(reg) 256usize,
                rows = inout(reg) tile.rows.as_ptr().add(from * tile.rows_ld) => _,
                rows_ld = in(reg) tile.rows_ld,
                weights = inout(reg) tile.weights.as_ptr() => _,
                steps = inout(reg) tile.depth / DEEP => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
    // SAFETY: gives the tiles back, so that the system need not keep them.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}
