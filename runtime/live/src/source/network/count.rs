use std::sync::Arc;
use std::time::Duration;

use super::address::Address;
use super::h264::H264;
use super::rtsp::{Codec, Opened, Opening, Rtsp};
use super::{http, receive};
use crate::source::{Fault, SourceOptions};
use edge_seg_model::{Frame, decode_jpeg};

/// Counts the pictures that a camera at an address of RTSP or HTTP gives before it ends, as many as `most`. What ffmpeg would decode
/// counts as none.
///
/// # Errors
/// What is wrong with what the camera sends.
#[doc(hidden)]
pub fn count_pictures(address: &str, most: usize) -> Result<usize, Fault> {
    let options = SourceOptions::default().with_stall(Duration::from_secs(2));
    let (place, mut frame, mut count) = (Address::parse(address)?, Frame::still(Default::default()), 0);
    if address.starts_with("http:") {
        let Some(mut pictures) = http::open(&place, &options)? else { return Ok(0) };
        while count < most && pictures.read(&mut frame)? {
            count += 1;
        }
        return Ok(count);
    }
    let rtsp = Rtsp::start(place, false, Arc::default())?;
    let Some(Opening::Here(Opened { codec, units, .. })) = rtsp.opened(&options)? else { return Ok(0) };
    let mut decoder = H264::new();
    while count < most
        && let Some(unit) = receive(&units, &options)?.transpose()?
    {
        let decoded = match codec {
            Codec::Jpeg => decode_jpeg(&unit.data, &mut frame.pixels).is_ok(),
            Codec::H264 => decoder.push(&unit.data).is_ok() && decoder.show(unit.pixel, &options, &mut frame)?,
            Codec::H265 => false,
        };
        count += usize::from(decoded);
    }
    Ok(count)
}
