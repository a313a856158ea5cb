//! The live session: sources, motion, rules, sinks, the page.

mod cameras;
mod carry;
mod displays;
mod events;
mod films;
mod hide;
mod live;
mod networks;
mod streams;
mod things;
mod web;
