//! From the training machine to the board and back: knows boards, signs and installs bundles, rolls back, diagnoses, deploys.
//!
//! The command line `edge-seg-fw` is a thin layer over these modules.

pub mod board;
pub mod slots;
