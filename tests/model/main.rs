//! The model as a library: its examples, precision, and many callers.

mod examples;
mod half;
mod languages;
mod library;
mod programs;
mod sharing;
