//! The C interface: the library's public face behind plain functions, opaque pointers and status codes. `include/edge_seg.h` is made of
//! this file and says what holds for all of it: errors, memory, threads, versions.
#![allow(unsafe_code)] // pointers from C; what comes in is checked here, and nothing behind this crate is unsafe
#![deny(unsafe_op_in_unsafe_fn, clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]
// The rules for pointers are the same for all functions, and are told once, in the header.
#![allow(clippy::missing_safety_doc)]
// What C is given are pointers that nobody looks behind.
#![allow(missing_debug_implementations)]

mod border;
mod live;
mod model;
mod picture;

pub use border::*;
pub use live::*;
pub use model::*;
pub use picture::*;
