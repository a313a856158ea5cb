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
    /// The number of the first frame, and its time.
    first: (u64, Duration),
}

impl RawFrames {
    pub fn new(layout: Layout, decoder: YuvDecoder, rate: Rate) -> Self {
        Self { layout, decoder, rate, bytes: vec![0; layout.bytes()], sequence: 0, first: (0, Duration::ZERO) }
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
        frame.timestamp = self.due();
        self.sequence += 1;
        Ok(true)
    }

    /// When the next frame is due.
    fn due(&self) -> Duration {
        let (sequence, time) = self.first;
        time.saturating_add(time_of(self.sequence - sequence, self.rate))
    }

    /// Numbers and times go on from another stream, whose rate may be another.
    pub fn after(self, other: &Self) -> Self {
        Self { sequence: other.sequence, first: (other.sequence, other.due()), ..self }
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
