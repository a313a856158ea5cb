use std::process::ExitCode;

use edge_seg_export::eval::LeftOut;

/// How many were left out, behind a count of what was measured.
pub fn without(left_out: usize, of: &str) -> String {
    if left_out == 0 { String::new() } else { format!(" ({left_out}{of} left out)") }
}

/// Says which pictures were left out, and the exit status that goes with it.
pub fn tell_left_out<'a>(left_out: impl IntoIterator<Item = &'a LeftOut>) -> ExitCode {
    let mut count = 0;
    for one in left_out {
        eprintln!("edge-seg-export: {}", edge_seg_terminal::causes(&*one.why));
        count += 1;
    }
    if count == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("edge-seg-export: left out of the figures: {count} that cannot be read");
    ExitCode::from(2)
}
