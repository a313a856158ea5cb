use std::path::Path;
use std::process::Command;

use super::child::{Frames, Producer, Program, file_argument};
use super::y4m::Y4m;
use super::{Fault, Matrix, Range, SourceOptions};

/// What ffmpeg is asked to read.
pub(super) enum Input<'a> {
    File(&'a Path),
    Stream(&'a str),
}

const PROGRAM: Program = Program { name: "ffmpeg", package: "ffmpeg" };

/// ffmpeg as a child that decodes a file or a stream into y4m on its stdout.
pub(super) fn start(input: &Input, options: &SourceOptions, live: bool) -> Result<Producer, Fault> {
    let mut command = Command::new(PROGRAM.name);
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error"]);
    match input {
        Input::File(path) => {
            // A playlist must not be able to make this program fetch from the network.
            command.args(["-protocol_whitelist", "file,crypto,data"]);
            if options.repeat {
                command.args(["-stream_loop", "-1"]);
            }
            if live {
                command.arg("-re");
            }
            command.arg("-i").arg(file_argument(path));
        }
        Input::Stream(uri) => {
            command.args(["-rtsp_transport", "tcp", "-fflags", "nobuffer", "-i", uri]);
        }
    }
    // ffmpeg knows the source's own matrix and range; what leaves it is BT.601 in limited range, always.
    let matrix = options.matrix.map_or("auto", |m| if m == Matrix::Bt601 { "bt601" } else { "bt709" });
    let range = options.range.map_or("auto", |r| if r == Range::Full { "full" } else { "limited" });
    let filter = format!("scale=in_color_matrix={matrix}:in_range={range}:out_color_matrix=bt601:out_range=limited,format=yuv420p");
    command.args(["-map", "0:v:0", "-an", "-sn", "-dn", "-vf", &filter, "-f", "yuv4mpegpipe", "pipe:1"]);
    Producer::start(PROGRAM, command, options, |out| Ok(Frames::Y4m(Y4m::new(out, Some(Matrix::Bt601), Some(Range::Limited)))))
}
