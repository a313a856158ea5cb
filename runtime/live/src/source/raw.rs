use std::io::Read;
use std::time::Duration;

use super::{Fault, Layout, Rate, YuvDecoder};
use edge_seg_model::Frame;

/// Reads frames that follow each other without any header.
pub(super) struct RawFrames {
    pub layout: Layout,
    pub decoder: YuvDecoder,
    pub rate: Rate,
    bytes: Vec<u8>,
    sequence: u64,
}

impl RawFrames {
    pub fn new(layout: Layout, decoder: YuvDecoder, rate: Rate) -> Self {
        Self { layout, decoder, rate, bytes: vec![0; layout.bytes()], sequence: 0 }
    }

    /// Reads one frame; false where the stream ends before it.
    pub fn read(&mut self, input: &mut impl Read, frame: &mut Frame) -> Result<bool, Fault> {
        let filled = read_full(input, &mut self.bytes)?;
        if filled == 0 {
            return Ok(false);
        }
        if filled < self.bytes.len() {
            let place = format!("frame {}", self.sequence);
            return Err(Fault::stream(place, format!("{} bytes", self.bytes.len()), format!("the end after {filled}")));
        }
        self.decoder.decode(&self.layout, &self.bytes, &mut frame.pixels)?;
        frame.sequence = self.sequence;
        frame.timestamp = time_of(self.sequence, self.rate);
        self.sequence += 1;
        Ok(true)
    }

    /// Counts on from another stream.
    pub fn from(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// When a frame is due in a stream of constant rate.
pub(super) fn time_of(sequence: u64, (frames, seconds): Rate) -> Duration {
    let nanoseconds = u128::from(sequence) * u128::from(seconds) * 1_000_000_000 / u128::from(frames.max(1));
    Duration::from_nanos(nanoseconds.try_into().unwrap_or(u64::MAX))
}

/// Fills a buffer as far as the stream reaches.
pub(super) fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
