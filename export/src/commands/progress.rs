use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for pictures, where somebody watches.
pub fn progress(len: usize) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left").expect("a valid template");
    ProgressBar::with_draw_target(Some(len as u64), target).with_style(style)
}
