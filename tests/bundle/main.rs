//! Bundles that are wrong, or mean harm.

mod hostile_bundle;
mod tiny;
