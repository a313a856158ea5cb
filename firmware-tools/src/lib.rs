//! From the training machine to the board and back: knows boards, signs and installs bundles, rolls back, diagnoses, deploys.
//!
//! The command line `edge-seg-fw` is a thin layer over these modules.
#![forbid(unsafe_code)]

pub mod board;
pub mod compare;
pub mod deploy;
pub mod doctor;
pub mod fleet;
pub mod health;
pub mod history;
pub mod install;
pub mod keys;
pub mod page;
pub mod paths;
pub mod precheck;
pub mod pull;
pub mod service;
pub mod slots;
pub mod source;
pub mod supervisor;
