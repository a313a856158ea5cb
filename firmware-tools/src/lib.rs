//! From the training machine to the board and back: knows boards, signs and installs bundles, rolls back, diagnoses, deploys.
//!
//! The command line `edge-seg-fw` is a thin layer over these modules.
#![forbid(unsafe_code)]

pub mod board;
pub mod deploy;
pub mod doctor;
pub mod install;
pub mod keys;
pub mod paths;
pub mod service;
pub mod slots;
pub mod supervisor;
