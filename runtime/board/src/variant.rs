use serde::Serialize;

/// A kind of processor, and the build of a bundle's encoders that it runs best. Bundles name it among their boards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// ARMv8.0 cores without the 8-bit dot product: Cortex-A53, A57, A72.
    Pi4,
    /// ARMv8.2 cores with the 8-bit dot product: Cortex-A76, A78.
    Pi5,
    /// A Jetson whose GPU runs the encoders when asked; its CPU falls back to the plain build.
    Jetson,
    /// A 64-bit PC.
    X86,
}

impl Variant {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Pi4, Self::Pi5, Self::Jetson, Self::X86];

    /// The name that bundles and manifests use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pi4 => "pi4",
            Self::Pi5 => "pi5",
            Self::Jetson => "jetson",
            Self::X86 => "x86",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name)
    }

    /// How the encoders of its build are stored and computed, as a manifest's `variant` says it.
    pub fn encoders(self) -> &'static str {
        match self {
            // Faster than floats without dot products too (docs/kernels.md).
            Self::Pi4 | Self::Pi5 | Self::X86 => "int8-dynamic",
            // A GPU computes in halves.
            Self::Jetson => "f16-storage",
        }
    }
}
