use std::io::Write;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use parking_lot::{Mutex, MutexGuard};

use super::rtsp::{Codec, Unit};
use crate::source::child::Producer;
use crate::source::ffmpeg::{StreamQuirks, decode_units};
use crate::source::{Fault, SourceOptions};
use edge_seg_model::Frame;

/// An `ffmpeg` child that decodes units, and the thread that hands them to it.
pub(super) struct Fed {
    producer: Producer,
    ended: Arc<Mutex<Ended>>,
}

/// Why no more units are handed on.
#[derive(Default)]
struct Ended {
    fault: Option<Fault>,
    /// Units that are lost so far.
    lost: u64,
}

impl Fed {
    pub fn start(
        codec: Codec,
        units: Receiver<Result<Unit, Fault>>,
        options: &SourceOptions,
        quirks: &StreamQuirks,
    ) -> Result<Self, Fault> {
        let encoding = if codec == Codec::H265 { "hevc" } else { "h264" };
        let (producer, pipe) = decode_units(encoding, options, quirks)?;
        let ended = Arc::<Mutex<Ended>>::default();
        let shared = ended.clone();
        let feed = move || feed(codec, &units, pipe, &shared);
        std::thread::Builder::new().name("edge-seg feed".into()).spawn(feed)?;
        Ok(Self { producer, ended })
    }

    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        let read = self.producer.read(frame);
        if matches!(read, Ok(true)) {
            return read;
        }
        // What the camera said comes before what its end made of the child.
        self.ended().fault.take().map_or(read, Err)
    }

    /// How many units are lost that were not asked for yet.
    pub fn lost(&self) -> u64 {
        std::mem::take(&mut self.ended().lost)
    }

    fn ended(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock()
    }
}

/// Access unit delimiters of H.264 and H.265: a decoder knows a picture to be whole when the next unit begins, and is not kept waiting.
const DELIMITERS: [&[u8]; 2] = [&[0, 0, 0, 1, 0x09, 0xf0], &[0, 0, 0, 1, 0x46, 0x01, 0x50]];

fn feed(codec: Codec, units: &Receiver<Result<Unit, Fault>>, mut pipe: ChildStdin, ended: &Mutex<Ended>) {
    let delimiter = DELIMITERS[usize::from(codec == Codec::H265)];
    for unit in units {
        let mut ended = ended.lock();
        let unit = match unit {
            // y4m has one size; the camera is asked again, and the child with it.
            Ok(unit) if unit.resized => {
                ended.fault = Some(Fault::Camera { status: None, said: "the picture has another size now".into() });
                return;
            }
            Ok(unit) => unit,
            Err(fault) => {
                ended.fault = Some(fault);
                return;
            }
        };
        ended.lost += unit.lost;
        drop(ended);
        if pipe.write_all(&unit.data).and_then(|()| pipe.write_all(delimiter)).is_err() {
            return;
        }
    }
}
