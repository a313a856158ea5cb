//! The model as a library: precision, and many callers.

mod half;
mod library;
mod programs;
mod sharing;
