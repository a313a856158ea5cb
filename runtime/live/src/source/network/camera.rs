use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::address::Address;
use super::fed::Fed;
use super::h264::{H264, Refused};
use super::http::{self, Pictures};
use super::receive;
use super::rtsp::{Codec, Opened, Opening, Rtsp, Unit, is_refusal};
use crate::source::child::Program;
use crate::source::ffmpeg::{self, Decoder, Input, PROGRAM, StreamQuirks, may_send_by_udp};
use crate::source::mjpeg::Damage;
use crate::source::{Fault, Notice, Rate, SourceOptions, VideoDecoder};
use edge_seg_model::{Frame, decode_jpeg};

/// A camera on the network, opened once: by RTSP or HTTP here, and by an `ffmpeg` child where it sends what is not read here.
pub(in crate::source) struct NetworkCamera {
    address: String,
    options: SourceOptions,
    quirks: StreamQuirks,
    reading: Reading,
    rate: Option<Rate>,
    damage: Damage,
    sequence: u64,
    began: bool,
    /// Pictures of a kind that is not read here, since it was asked or a picture was read.
    strange: u32,
}

/// By what it is read.
enum Reading {
    /// It was not asked yet.
    Nothing,
    Jpeg {
        units: Receiver<Result<Unit, Fault>>,
        _rtsp: Rtsp,
    },
    Own {
        units: Receiver<Result<Unit, Fault>>,
        decoder: Box<H264>,
        _rtsp: Rtsp,
    },
    /// The child goes before what feeds it.
    Fed {
        fed: Fed,
        _rtsp: Rtsp,
    },
    Http(Pictures),
    Program(Box<Decoder>),
}

/// Pictures without an end of damaged ones after which a stream counts as broken.
const MAX_DAMAGED: u32 = 300;
/// Pictures of a kind that is not read here after which that is believed: damage may look like one.
const STRANGE: u32 = 2;

impl NetworkCamera {
    pub fn new(address: String, options: &SourceOptions, quirks: &StreamQuirks) -> Self {
        let (options, quirks) = (options.clone(), quirks.clone());
        let damage = Damage::new(&options.notify);
        Self { address, options, quirks, reading: Reading::Nothing, rate: None, damage, sequence: 0, began: false, strange: 0 }
    }

    pub fn rate(&self) -> Option<Rate> {
        match &self.reading {
            Reading::Program(decoder) => decoder.rate(),
            _ => self.rate,
        }
    }

    /// What decodes its pictures.
    pub fn decoder(&self) -> Option<&'static str> {
        match self.reading {
            Reading::Nothing => None,
            Reading::Jpeg { .. } | Reading::Http(_) => Some("jpeg"),
            Reading::Own { .. } => Some("rust_h264"),
            Reading::Fed { .. } | Reading::Program(_) => Some(PROGRAM.name),
        }
    }

    /// Reads the next frame; false at the end.
    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        let mut by_tcp = None;
        loop {
            let read = self.once(frame);
            if self.began {
                return read;
            }
            match read {
                Ok(more) => {
                    self.began = more;
                    if let Some(by) = self.decoder().filter(|_| more) {
                        (self.options.notify)(Notice::Decoding { by });
                    }
                    return Ok(more);
                }
                // The child tries both by itself.
                Err(fault) if self.address.starts_with("rtsp:") && !matches!(self.reading, Reading::Program(_)) => {
                    let by_udp = StreamQuirks::is(&self.quirks.udp);
                    if !by_udp && (is_refusal(&fault) || may_send_by_udp(&fault.to_string()) && !is_final(&fault)) {
                        self.ask_by_udp(&fault);
                        by_tcp = Some(fault);
                    } else {
                        // If UDP does not help, it begins with TCP again; a camera that is busy says nothing of transports.
                        let busy = by_udp && matches!(fault, Fault::Camera { status: Some(500..), .. });
                        self.quirks.udp.store(busy, Ordering::Relaxed);
                        if by_udp && by_tcp.is_none() {
                            return Err(fault);
                        }
                        self.hand_over(by_tcp.take(), fault)?;
                    }
                    self.reading = Reading::Nothing;
                }
                Err(fault) if StreamQuirks::is(&self.quirks.by_program) => return Err(not_let_in(fault)),
                Err(fault) => return Err(fault),
            }
        }
    }

    fn once(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        if matches!(self.reading, Reading::Nothing) {
            let Some(reading) = self.open()? else { return Ok(false) };
            (self.reading, self.strange) = (reading, 0);
        }
        let more = match &mut self.reading {
            Reading::Nothing => false,
            Reading::Program(decoder) => return decoder.read(frame),
            Reading::Http(pictures) => return pictures.read(frame),
            Reading::Fed { fed, .. } => {
                let more = fed.read(frame)?;
                tell_lost(&mut self.damage, self.sequence, fed.lost());
                more
            }
            Reading::Jpeg { units, .. } => loop {
                let Some(unit) = receive(units, &self.options)?.transpose()? else { break false };
                let (lost, decoded) = (unit.lost, decode_jpeg(&unit.data, &mut frame.pixels));
                self.sequence += lost;
                tell_lost(&mut self.damage, self.sequence, lost);
                match decoded {
                    Ok(()) => {
                        self.strange = 0;
                        break true;
                    }
                    Err(why) => {
                        self.strange = if is_without_size(&why) { self.strange + 1 } else { self.strange };
                        // Sides stand in a byte there, in steps of eight (RFC 2435 section 3.1.5); larger ones are sent as 0.
                        if self.strange >= STRANGE {
                            let expected = "Motion JPEG of up to 2040×2040 pixels, the most that RTP can tell";
                            let found = "a larger picture; choose H.264 or a smaller size in the camera's settings";
                            return Err(Fault::name(expected, found));
                        }
                        self.damage.tell(self.sequence, &why);
                    }
                }
                self.sequence += 1;
            },
            Reading::Own { units, decoder, .. } => {
                let mut damaged = 0;
                let mut pixel = (1, 1);
                loop {
                    if decoder.show(pixel, &self.options, frame)? {
                        break true;
                    }
                    let Some(unit) = receive(units, &self.options)?.transpose()? else { break false };
                    pixel = unit.pixel;
                    tell_lost(&mut self.damage, self.sequence, unit.lost);
                    let why = match decoder.push(&unit.data) {
                        Ok(()) => {
                            damaged = 0;
                            self.sequence += 1;
                            continue;
                        }
                        Err(Refused::Damaged(why)) => why,
                        // What was read so far is of a kind that is known.
                        Err(Refused::Unknown(why)) if decoder.has_shown() => why,
                        Err(Refused::Unknown(what)) => {
                            self.strange += 1;
                            if self.strange >= STRANGE {
                                if !PROGRAM.is_there() {
                                    return Err(unread(&what));
                                }
                                self.quirks.not_own.store(true, Ordering::Relaxed);
                                // Asked anew by the same transport, which is not at fault; the rest of this picture is lost.
                                self.reading = Reading::Nothing;
                                return self.once(frame);
                            }
                            what
                        }
                    };
                    damaged += 1;
                    self.damage.tell(self.sequence, &why);
                    if damaged >= MAX_DAMAGED {
                        return Err(Fault::stream("video", "pictures", format!("{damaged} damaged ones in a row: {why}")));
                    }
                    self.sequence += 1;
                }
            }
        };
        if more {
            frame.sequence = self.sequence;
            self.sequence += 1;
        }
        Ok(more)
    }

    /// Asks the camera; none if the program stops meanwhile.
    fn open(&mut self) -> Result<Option<Reading>, Fault> {
        let scheme = self.address.split(':').next().unwrap_or_default();
        match scheme {
            "http" => match http::open(&Address::parse(&self.address)?, &self.options)? {
                Some(pictures) => Ok(Some(Reading::Http(pictures))),
                None => self.by_program(),
            },
            "rtsp" => self.open_rtsp(),
            // Encrypted, or another protocol.
            _ => self.by_program(),
        }
    }

    fn open_rtsp(&mut self) -> Result<Option<Reading>, Fault> {
        if StreamQuirks::is(&self.quirks.by_program) {
            return self.by_program();
        }
        let rtsp = Rtsp::start(Address::parse(&self.address)?, StreamQuirks::is(&self.quirks.udp), self.quirks.login_asked.clone())?;
        let Opened { codec, rate, refused_tcp, units } = match rtsp.opened(&self.options)? {
            None => return Ok(None),
            Some(Opening::Here(opened)) => opened,
            Some(Opening::Other(names)) if names.is_empty() => {
                return Err(Fault::name("a camera's address", "a stream with no video in it"));
            }
            Some(Opening::Other(names)) if !PROGRAM.is_there() => return Err(unread(&names)),
            Some(Opening::Other(_)) => return self.by_program(),
        };
        self.rate = rate;
        if let Some(why) = refused_tcp {
            self.ask_by_udp(&why);
        }
        let own = match self.options.decoder {
            _ if codec == Codec::Jpeg => return Ok(Some(Reading::Jpeg { units, _rtsp: rtsp })),
            _ if codec == Codec::H265 || StreamQuirks::is(&self.quirks.not_own) => false,
            VideoDecoder::Own => true,
            VideoDecoder::Ffmpeg => false,
            VideoDecoder::Auto => !PROGRAM.is_there(),
        };
        if own {
            return Ok(Some(Reading::Own { units, decoder: Box::new(H264::new()), _rtsp: rtsp }));
        }
        if !PROGRAM.is_there() {
            return Err(unread(codec.name()));
        }
        Ok(Some(Reading::Fed { fed: Fed::start(codec, units, &self.options, &self.quirks)?, _rtsp: rtsp }))
    }

    fn ask_by_udp(&self, why: &Fault) {
        self.quirks.udp.store(true, Ordering::Relaxed);
        self.quirks.tell_udp(why.to_string(), &self.options);
    }

    /// Leaves a camera to ffmpeg of which something could not be read, by the one transport or the other.
    fn hand_over(&self, by_tcp: Option<Fault>, last: Fault) -> Result<(), Fault> {
        let why = match by_tcp {
            Some(first) if is_unread(&first) => first,
            _ if is_unread(&last) => last,
            _ => return Err(last),
        };
        let Program { name, package } = PROGRAM;
        if !PROGRAM.is_there() {
            let said = format!("{why}; the program {name} may read it, which is not installed; install the package {package}");
            return Err(Fault::Camera { status: None, said });
        }
        self.quirks.udp.store(false, Ordering::Relaxed);
        self.quirks.by_program.store(true, Ordering::Relaxed);
        (self.options.notify)(Notice::OtherProgram { why: why.to_string(), program: name });
        Ok(())
    }

    fn by_program(&self) -> Result<Option<Reading>, Fault> {
        let decoder = Decoder::start(Input::Stream(self.address.clone()), &self.options, true, &self.quirks)?;
        Ok(Some(Reading::Program(Box::new(decoder))))
    }
}

fn tell_lost(damage: &mut Damage, sequence: u64, lost: u64) {
    if lost > 0 {
        damage.tell(sequence, &format!("{lost} packets before it are lost"));
    }
}

/// Whether a JPEG was refused because one of its sides is 0.
fn is_without_size(why: &str) -> bool {
    let sides = why.strip_suffix(" pixels").and_then(|sides| sides.split_once('×'));
    sides.is_some_and(|(width, height)| width == "0" || height == "0")
}

/// What no transport changes.
fn is_final(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Name { .. } | Fault::MissingProgram { .. } | Fault::Camera { status: Some(300..=401 | 403 | 404 | 451 | 500..), .. }
    )
}

/// Whether a camera was reached, and what it answers or sends is not understood here: it refuses nothing.
fn is_unread(fault: &Fault) -> bool {
    matches!(fault, Fault::Camera { status: None | Some(200..400), .. })
}

/// What the program says of a camera that was left to it, with what there is to try where that asks for a login again and again.
fn not_let_in(fault: Fault) -> Fault {
    match fault {
        Fault::Ended { said, .. } if said.contains("401 Unauthorized") => {
            let Program { name, .. } = PROGRAM;
            let said = format!(
                "{name} is not let in either (401 Unauthorized); a camera that takes each nonce for one request has to say so \
                 (stale=true): let it ask by Basic, look for newer firmware, or take its stream by http://"
            );
            Fault::Camera { status: Some(401), said }
        }
        other => other,
    }
}

fn unread(encoding: &str) -> Fault {
    let Program { name, package } = ffmpeg::PROGRAM;
    Fault::name(
        "video as H.264 or Motion JPEG",
        format!("{encoding}, which the program {name} reads, which is not installed; install the package {package}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_without_a_size_is_told_from_a_damaged_one() {
        assert!(["0×0 pixels", "0×1440 pixels", "2560×0 pixels"].into_iter().all(is_without_size));
        assert!(!["640×480 pixels in a JPEG of 9 bytes, which cannot hold them", "10×20 pixels", ""].into_iter().any(is_without_size));
    }
}
