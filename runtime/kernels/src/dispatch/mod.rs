//! Which set of kernels is used, and each kernel behind the checks that it relies on.

mod checked;

use std::sync::OnceLock;

use crate::arch;
use crate::isa::Set;

pub(crate) use crate::arch::prefetch;

/// A set of kernels for one instruction set. It can only be had where the processor has that set.
#[derive(Debug)]
pub struct Kernels {
    set: Set,
}

/// The environment variable that restricts the choice of kernels.
pub const KERNELS_VARIABLE: &str = "EDGE_SEG_KERNELS";

/// Every set that this machine has, the scalar reference first and the fastest last.
fn present() -> &'static [Kernels] {
    static PRESENT: OnceLock<Vec<Kernels>> = OnceLock::new();
    PRESENT.get_or_init(|| arch::sets().into_iter().map(|set| Kernels { set }).collect())
}

/// The set called `name`, or the best one for `None`.
pub(crate) fn choose(name: Option<&str>) -> Result<&'static Kernels, String> {
    let sets = present();
    let Some(name) = name else {
        return Ok(sets.last().unwrap_or(&sets[0]));
    };
    sets.iter().find(|set| set.name() == name).ok_or_else(|| {
        let names: Vec<_> = sets.iter().map(Kernels::name).collect();
        format!("{KERNELS_VARIABLE}: expected one of {} (what this processor has), found {name:?}", names.join(", "))
    })
}

/// The kernels to use: the set that `EDGE_SEG_KERNELS` names, or without that variable the best that the processor has.
///
/// # Errors
/// The variable names a set that is unknown or that this processor lacks.
pub fn try_kernels() -> Result<&'static Kernels, String> {
    static CHOSEN: OnceLock<Result<&'static Kernels, String>> = OnceLock::new();
    CHOSEN
        .get_or_init(|| {
            let name = std::env::var_os(KERNELS_VARIABLE).filter(|name| !name.is_empty());
            choose(name.as_ref().map(|name| name.to_string_lossy()).as_deref())
        })
        .clone()
}

/// As [`try_kernels`]; where `EDGE_SEG_KERNELS` is wrong, the best that the processor has. Programs call [`try_kernels`] once at the
/// start, so that a wrong name is an error there.
pub fn kernels() -> &'static Kernels {
    try_kernels().unwrap_or_else(|_| present().last().unwrap_or(&present()[0]))
}

impl Kernels {
    /// Every set that this machine has, the scalar reference first and the fastest last.
    pub fn all() -> Vec<&'static Kernels> {
        present().iter().collect()
    }

    /// The name of the set, as `EDGE_SEG_KERNELS` takes it.
    pub fn name(&self) -> &'static str {
        self.set.name
    }

    /// Whether this is the set that the others are tested against.
    pub(crate) fn is_reference(&self) -> bool {
        self.set.name == arch::REFERENCE
    }

    /// Columns of a panel.
    pub(crate) fn panel(&self) -> usize {
        self.set.float_sizes.panel
    }

    /// Bytes of a column that lie together in a panel.
    pub(crate) fn group(&self) -> usize {
        self.set.int8_sizes.group
    }

    /// Columns that lie in one register; panels of floats may be any multiple of it.
    pub(crate) fn lanes(&self) -> usize {
        self.set.float_sizes.lanes
    }

    /// Numbers of a row that a product sums at a time: so much of a panel, 16 KB, stays in the first cache while all rows pass it and as
    /// much of what comes next is fetched.
    pub(crate) fn depth(&self) -> usize {
        4096 / self.panel()
    }

    /// As [`depth`](Self::depth), of bytes. No shorter with wide panels: AMX would go back to its sums too often.
    pub(crate) fn depth_int8(&self) -> usize {
        4 * self.depth().max(128)
    }

    /// Bytes of a row, of what goes in and of sums, that a product goes back to before it goes on to the next weights.
    pub fn row_bytes(&self) -> usize {
        4 * (self.depth() + self.panel())
    }

    /// As [`row_bytes`](Self::row_bytes), of bytes.
    pub fn row_bytes_int8(&self) -> usize {
        self.depth_int8() + 4 * self.panel()
    }

    /// Rows that a tile of floats has; parts of a multiple of it waste nothing.
    pub fn tile_rows(&self) -> usize {
        self.set.float_sizes.tile_rows
    }

    /// As [`tile_rows`](Self::tile_rows), of bytes.
    pub(crate) fn tile_rows_int8(&self) -> usize {
        self.set.int8_sizes.tile_rows
    }

    /// As [`tile_rows`](Self::tile_rows), of 16-bit floats.
    pub fn tile_rows_f16(&self) -> usize {
        self.set.f16.as_ref().map_or(1, |kernels| kernels.tile_rows())
    }

    /// Parts of a multiple of these rows waste nothing, of bytes: less than a tile where that is worked on in parts.
    pub fn part_rows_int8(&self) -> usize {
        self.set.int8_sizes.part_rows
    }

    /// The largest byte that rows are quantized to. Sets without a dot product of four bytes add products in pairs in 16 bits, which must
    /// not overflow: 2 · 127 · 128 does not, whether bytes are signed within ±127 or unsigned up to 127.
    pub(crate) fn levels(&self) -> u8 {
        self.set.int8_sizes.levels
    }

    /// What is taken from each byte before the product reads it.
    pub(crate) fn shift(&self) -> u8 {
        self.set.int8_sizes.shift
    }

    /// Patches that lie side by side for products of floats.
    pub(crate) fn patch_group_f32(&self) -> usize {
        self.set.float_sizes.patch_group
    }

    /// Patches that lie side by side for products of bytes.
    pub(crate) fn patch_group_int8(&self) -> usize {
        self.set.scoring.patch_group()
    }

    /// Whether this set computes products in 16-bit floats: those of Arm do where the processor has `fp16` (Armv8.2). The reference does
    /// too, slowly, where `EDGE_SEG_KERNELS` asks for it by name.
    pub fn has_f16(&self) -> bool {
        let asked = || std::env::var_os(KERNELS_VARIABLE).is_some_and(|name| name == self.name());
        self.set.f16.is_some() && (!self.is_reference() || asked())
    }
}
