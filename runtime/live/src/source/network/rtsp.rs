use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use futures_util::StreamExt;
use retina::client::{Credentials, Demuxed, PlayOptions, Session, SessionGroup, SessionOptions, SetupOptions, Transport};
use retina::codec::{CodecItem, FrameFormat, ParametersRef};

use super::address::Address;
use super::ask;
use super::{LEAVE, Reception, receive, run_until_cancelled, unless_panics, unreached};
use crate::source::{Fault, Rate, SourceOptions, redacted};

/// What a camera's video is encoded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    H264,
    H265,
    Jpeg,
}

impl Codec {
    const ALL: [(&str, Self); 3] = [("h264", Self::H264), ("h265", Self::H265), ("jpeg", Self::Jpeg)];

    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "H.264",
            Self::H265 => "H.265",
            Self::Jpeg => "Motion JPEG",
        }
    }

    /// Units that may wait: some seconds of video whose pictures need those before them, and no more than is on the way where they do not.
    fn queue(self) -> usize {
        if self == Self::Jpeg { 2 } else { 64 }
    }
}

/// One picture, encoded: a JPEG, or NAL units behind start codes.
pub(super) struct Unit {
    pub data: Vec<u8>,
    /// Packets that were lost before it, and units that were left out because nobody had taken those before.
    pub lost: u64,
    /// Width to height of a pixel.
    pub pixel: (u32, u32),
    /// Whether it is of another size than those before.
    pub resized: bool,
}

/// What a camera says of its video, and where that comes from.
pub(super) struct Opened {
    pub codec: Codec,
    pub rate: Option<Rate>,
    /// Why the camera did not send by TCP, if it sends by UDP for that.
    pub refused_tcp: Option<Fault>,
    pub units: Receiver<Result<Unit, Fault>>,
}

pub(super) enum Opening {
    Here(Opened),
    /// Video in some other encoding, which is named.
    Other(String),
}

/// A session with a camera, by TCP or UDP; it is left when this is dropped.
pub(super) struct Rtsp {
    opening: Receiver<Result<Opening, Fault>>,
    _reception: Reception,
}

impl Rtsp {
    /// Asks a camera. Why it refuses a login is looked into once, which `login_asked` tells.
    pub fn start(address: Address, udp: bool, login_asked: Arc<AtomicBool>) -> Result<Self, Fault> {
        let (sender, opening) = sync_channel(1);
        let reception = Reception::start("rtsp", move |gone| async move {
            let group = Arc::new(SessionGroup::default());
            if let Some(Err(fault)) = run_until_cancelled(&gone, converse(&address, udp, &login_asked, &group, &gone, &sender)).await {
                // If it was open, that has been told where units are.
                let _ = sender.try_send(Err(fault));
            }
            let _ = tokio::time::timeout(LEAVE, group.await_teardown()).await;
        })?;
        Ok(Self { opening, _reception: reception })
    }

    /// What the camera has answered; none if the program stops before.
    pub fn opened(&self, options: &SourceOptions) -> Result<Option<Opening>, Fault> {
        receive(&self.opening, options)?.transpose()
    }
}

/// Units before the first picture that needs none before it; a camera that refreshes its picture bit by bit sends no such picture.
const MOST_BEFORE_KEY: u32 = 300;

async fn converse(
    address: &Address,
    udp: bool,
    login_asked: &AtomicBool,
    group: &Arc<SessionGroup>,
    gone: &AtomicBool,
    sender: &SyncSender<Result<Opening, Fault>>,
) -> Result<(), Fault> {
    let Some(mut playing) = unless_panics(begin(address, udp, login_asked, group, sender)).await? else { return Ok(()) };
    match unless_panics(hand_on(&mut playing.session, playing.at, playing.codec, &playing.out)).await {
        Ok(()) => Ok(()),
        Err(why) => last_word(&playing.out, gone, why).await,
    }
}

/// A session that sends, the number and encoding of its stream of video, and where its units go.
struct Playing {
    session: Demuxed,
    at: usize,
    codec: Codec,
    out: SyncSender<Result<Unit, Fault>>,
}

/// Tells what the camera has; none where that is nothing that is read here.
async fn begin(
    address: &Address,
    udp: bool,
    login_asked: &AtomicBool,
    group: &Arc<SessionGroup>,
    sender: &SyncSender<Result<Opening, Fault>>,
) -> Result<Option<Playing>, Fault> {
    let login = address.login.clone().map(|login| Credentials { username: login.user, password: login.password });
    let options = SessionOptions::default()
        .creds(login)
        .session_group(group.clone())
        .user_agent(concat!("edge-seg/", env!("CARGO_PKG_VERSION")).into());
    let mut session = match Session::describe(address.url.clone(), options).await {
        Ok(session) => session,
        Err(error) => return Err(explained(error, address, login_asked).await),
    };
    let videos = || session.streams().iter().enumerate().filter(|(_, stream)| stream.media() == "video");
    let known = videos().find_map(|(at, stream)| {
        Codec::ALL.iter().find(|(name, _)| stream.encoding_name().eq_ignore_ascii_case(name)).map(|(_, codec)| (at, *codec))
    });
    let Some((at, codec)) = known else {
        let names: Vec<_> = videos().map(|(_, stream)| stream.encoding_name().to_owned()).collect();
        let _ = sender.send(Ok(Opening::Other(names.join(", "))));
        return Ok(None);
    };
    let by = |udp| {
        let transport = if udp { Transport::Udp(Default::default()) } else { Transport::default() };
        SetupOptions::default().transport(transport).frame_format(FrameFormat::SIMPLE)
    };
    let mut refused_tcp = None;
    if let Err(error) = session.setup(at, by(udp)).await {
        let why = fault(error);
        if udp || !is_refusal(&why) {
            return Err(why);
        }
        // In the same session: a camera that still clears the one away may be too busy for the next.
        if session.setup(at, by(true)).await.is_err() {
            return Err(why);
        }
        refused_tcp = Some(why);
    }
    let rate = session.streams()[at].framerate().and_then(rate_of);
    let session = session.play(PlayOptions::default()).await.and_then(|session| session.demuxed()).map_err(fault)?;
    let (out, units) = sync_channel(codec.queue());
    let _ = sender.send(Ok(Opening::Here(Opened { codec, rate, refused_tcp, units })));
    Ok(Some(Playing { session, at, codec, out }))
}

/// Hands units on until the camera ends, or nobody takes them.
async fn hand_on(session: &mut Demuxed, at: usize, codec: Codec, out: &SyncSender<Result<Unit, Fault>>) -> Result<(), Fault> {
    let (mut lost, mut before_key, mut size) = (0, if codec == Codec::Jpeg { None } else { Some(0) }, None);
    loop {
        let frame = match session.next().await {
            Some(Ok(CodecItem::VideoFrame(frame))) => frame,
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(fault(error)),
            None => return Ok(()),
        };
        lost += u64::from(frame.loss());
        let mut begins_within = false;
        if let Some(count) = &mut before_key {
            *count += 1;
            begins_within = !frame.is_random_access_point();
            if begins_within && *count <= MOST_BEFORE_KEY {
                continue;
            }
            before_key = None;
        }
        let parameters = match session.streams()[at].parameters() {
            Some(ParametersRef::Video(parameters)) => Some(parameters),
            _ => None,
        };
        let now = parameters.map(|p| p.pixel_dimensions());
        let resized = std::mem::replace(&mut size, now).is_some_and(|before| now.is_some_and(|now| now != before));
        let pixel = parameters.and_then(|p| p.pixel_aspect_ratio()).unwrap_or((1, 1));
        // Parameter sets come with pictures that need none before them.
        let sets = parameters.filter(|_| begins_within).map_or(&[][..], |p| p.extra_data());
        let data = if sets.is_empty() { frame.into_data() } else { [sets, frame.data()].concat() };
        match out.try_send(Ok(Unit { data, lost, pixel, resized })) {
            Ok(()) => lost = 0,
            Err(TrySendError::Disconnected(_)) => return Ok(()),
            Err(TrySendError::Full(_)) => {
                lost += 1;
                // What follows is of no use without what was left out.
                before_key = (codec != Codec::Jpeg).then_some(0);
            }
        }
    }
}

/// Tells why no more units come, once there is room for it.
async fn last_word(out: &SyncSender<Result<Unit, Fault>>, gone: &AtomicBool, why: Fault) -> Result<(), Fault> {
    let mut word = Err(why);
    while !gone.load(Ordering::Relaxed) {
        match out.try_send(word) {
            Err(TrySendError::Full(kept)) => word = kept,
            _ => break,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Whether a camera refuses a transport (RFC 2326 section 11.3.14).
pub(super) fn is_refusal(fault: &Fault) -> bool {
    matches!(fault, Fault::Camera { status: Some(406 | 461), .. })
}

fn rate_of(frames_a_second: f32) -> Option<Rate> {
    (0.01..=1000.0).contains(&frames_a_second).then(|| ((frames_a_second * 1000.0).round() as u32, 1000))
}

/// How what the library says of connections begins.
const NETWORK: [&str; 5] = ["Unable to connect", "Error reading from", "Error writing to", "Error receiving UDP", "Timeout"];

/// What is wrong, in words for who set the camera up.
fn fault(error: retina::Error) -> Fault {
    let said = error.to_string();
    // The others tell of connections and packets.
    let said = redacted(said.lines().next().unwrap_or_default().trim().trim_end_matches("; buffered:"));
    let Some(status) = error.status_code() else {
        return match NETWORK.iter().any(|network| said.starts_with(network)) {
            true => Fault::Io(std::io::Error::other(unreached(said, "RTSP", 554))),
            false => Fault::Camera { status: None, said: format!("what the camera sends could not be read: {said}") },
        };
    };
    // `401 response to SETUP CSeq=2: what is wrong`
    let (head, why) = said.split_once(": ").unwrap_or((&said, ""));
    let method = head.split_once(" to ").map_or("", |(_, rest)| rest.split(' ').next().unwrap_or_default());
    // Who was let in by DESCRIBE has the right login.
    if status == 401 && method != "DESCRIBE" && why.contains("after trying") {
        return renewed_login();
    }
    Fault::Camera { status: Some(status), said: in_words(status, method, why) }
}

fn in_words(status: u16, method: &str, why: &str) -> String {
    match status {
        200..300 => format!("the camera's answer to {method} could not be read: {why}"),
        401 if why.contains("after trying") => "the camera refuses this user name or password (401 Unauthorized)".into(),
        401 if why.contains("no credentials") => {
            "the camera asks for a login (401 Unauthorized); write it into the address, rtsp://USER:PASSWORD@HOST/PATH".into()
        }
        401 => format!("the camera asks for a login in a way that is not known here (401 Unauthorized): {why}"),
        _ => {
            let name = STATUSES.iter().find(|(known, _)| *known == status).map_or("", |(_, name)| name);
            format!("the camera answers {status}{name} to {method}")
        }
    }
}

/// What cameras answer to what they cannot do, and what there is to try (RFC 2326 section 7.1.1).
const STATUSES: [(u16, &str); 12] = [
    (301, " (it has moved)"),
    (302, " (it has moved)"),
    (400, " (bad request)"),
    (403, " (forbidden)"),
    (404, " (not found: it has no stream of this path)"),
    (406, " (not acceptable)"),
    (453, " (not enough bandwidth)"),
    (454, " (session not found)"),
    (461, " (unsupported transport)"),
    (500, " (an error of its own)"),
    (501, " (not implemented)"),
    (503, " (it is not available, or sends to as many as it can already)"),
];

fn renewed_login() -> Fault {
    let said = "the camera asks for its login anew, with another nonce, which is not answered here".into();
    Fault::Camera { status: None, said }
}

/// As [`fault`], with what the library keeps of an answer to itself: where a camera sends on to, and whether it takes a login for a
/// wrong one or an old one.
async fn explained(error: retina::Error, address: &Address, login_asked: &AtomicBool) -> Fault {
    match (fault(error), &address.login) {
        (Fault::Camera { status: Some(status @ 300..=399), said }, _) => {
            let place = ask::sends_on_to(address).await.map(|place| format!(" and sends on to {}", redacted(&place)));
            Fault::Camera { status: Some(status), said: said + &place.unwrap_or_default() }
        }
        // Each time counts as one more try of a wrong password, if it is one.
        (Fault::Camera { status: Some(401), .. }, Some(login))
            if !login_asked.swap(true, Ordering::Relaxed) && ask::renews_login(address, login).await =>
        {
            renewed_login()
        }
        (fault, _) => fault,
    }
}
