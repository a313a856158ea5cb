//! Cameras behind a bad network, and what speaks RTSP and then sends anything.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use edge_seg_tests::need_program;

use crate::cameras::{ALONE, H264, arguments_of, chart_film, has_rtsp_server, path_with, read_source, script, serve, stand_in, told_of};

#[test]
fn an_rtsp_camera_behind_a_bad_network_is_survived() {
    if !has_rtsp_server() || !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let film = chart_film(folder.path(), "chart.mp4", &H264);
    let alone = [(ALONE.0, ALONE.1.to_owned())];
    let read = |transport: &str, frames: usize, stall_s: f64, network: &[&str]| {
        let camera = if transport == "udp" { serve(&[&film, "udp"]) } else { serve(&[&film]) };
        let port = camera.port.to_string();
        let network = script("bad_network.py", 0, &[&[port.as_str()][..], network].concat());
        read_source(&format!("rtsp://127.0.0.1:{}/test", network.port), frames, stall_s, &alone)
    };
    let breaks = |told: &[String]| told.iter().filter(|told| told.starts_with("lost")).count();
    let damage = |told: &[String]| told.iter().filter(|told| told.starts_with("Damaged")).count();
    // What comes late and whole is shown whole.
    for transport in ["tcp", "udp"] {
        let seen = read(transport, 40, 20.0, &["delay=30"]);
        seen.assert_chart(transport, false);
        assert_eq!((breaks(&seen.told), damage(&seen.told)), (0, 0), "{transport}: {:?}", seen.told);
    }
    // Packets that are lost, come twice or in another order cost pictures and not the connection.
    for network in [["drop=0.03", "seed=1"], ["swap=0.03", "seed=2"], ["double=0.03", "seed=3"]] {
        let seen = read("udp", 40, 20.0, &network);
        assert_eq!(breaks(&seen.told), 0, "{network:?}: {:?}", seen.told);
    }
    // Where the connection is cut or stands still it is made anew.
    for (network, complaint) in [("cut=60", ""), ("stall=60:4", "no frame for 1500 ms")] {
        let seen = read("tcp", 60, 1.5, &[network]);
        assert!(breaks(&seen.told) > 0 && seen.told.iter().any(|told| told.contains(complaint)), "{network}: {:?}", seen.told);
        assert!(seen.told.iter().any(|told| told == "Back"), "{network}: {:?}", seen.told);
    }
    // Nor do bytes that are changed end it.
    for transport in ["tcp", "udp"] {
        let seen = read(transport, 40, 5.0, &["change=0.03", "seed=4"]);
        assert_eq!(seen.frames.len(), 40, "{transport}: {:?} {:?}", seen.error, seen.told);
    }
}

/// A camera that still clears one session away answers the next with 503: what it refuses is asked for otherwise in the same one.
#[test]
fn a_camera_that_refuses_tcp_is_asked_for_udp_in_the_same_session() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, methods) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (connection, client) in listener.incoming().map_while(Result::ok).enumerate() {
            let asked = asked.clone();
            std::thread::spawn(move || {
                answer(client, &[], &mut |head: &[String]| {
                    let _ = asked.send((connection, head[0].split(' ').next().unwrap_or_default().to_owned()));
                    let transport = head.iter().find(|line| line.starts_with("Transport:"))?;
                    match transport.split_once("client_port=") {
                        None => Some(("461 Unsupported Transport", String::new())),
                        Some((_, ports)) => {
                            let line = format!("Session: 1\r\nTransport: RTP/AVP;unicast;client_port={ports};server_port=6970-6971\r\n");
                            Some(("200 OK", line))
                        }
                    }
                })
            });
        }
    });
    let told = told_of(&format!("rtsp://127.0.0.1:{port}/x"), Duration::from_secs(1));
    assert!(told.contains("OtherTransport") && told.contains("461"), "{told}");
    let asked: Vec<_> = methods.try_iter().take(4).collect();
    assert_eq!(asked, ["DESCRIBE", "SETUP", "SETUP", "PLAY"].map(|method| (0, method.to_owned())), "{told}");
}

/// Answers an RTSP client rightly, and then sends these bytes.
fn sending(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let bytes = bytes.clone();
            std::thread::spawn(move || answer(client, &bytes, &mut |_| None));
        }
    });
    port
}

type Answers<'a> = &'a mut dyn FnMut(&[String]) -> Option<(&'static str, String)>;

/// Answers by `other` where that has an answer to a request's head: a status, and lines.
fn answer(mut client: TcpStream, bytes: &[u8], other: Answers<'_>) -> Option<()> {
    let description = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n\
                       a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:one\r\n";
    let mut lines = BufReader::new(client.try_clone().ok()?).lines().map_while(Result::ok);
    loop {
        let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let number = head.iter().find_map(|line| line.strip_prefix("CSeq:"))?.trim().to_owned();
        let method = head.first()?.split(' ').next()?.to_owned();
        let (more, body) = match method.as_str() {
            "DESCRIBE" => (format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", description.len()), description),
            "SETUP" => ("Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000001\r\n".into(), ""),
            _ => ("Session: 1\r\n".to_owned(), ""),
        };
        let (status, more, body) = other(&head).map_or(("200 OK", more, body), |(status, lines)| (status, lines, ""));
        write!(client, "RTSP/1.0 {status}\r\nCSeq: {number}\r\n{more}\r\n{body}").ok()?;
        if method == "PLAY" {
            client.write_all(bytes).ok()?;
            std::thread::sleep(Duration::from_secs(3));
            return Some(());
        }
    }
}

/// A packet of the interleaved stream (RFC 2326 section 10.12).
fn interleaved(channel: u8, payload: &[u8]) -> Vec<u8> {
    [&[b'$', channel][..], &(payload.len() as u16).to_be_bytes(), payload].concat()
}

/// RTP's header (RFC 3550 section 5.1) and a payload.
fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    rtp_of(sequence, sequence, false, payload)
}

/// As [`rtp`], of this time, and with the mark of a picture's last packet.
fn rtp_of(sequence: u16, time: u16, last: bool, payload: &[u8]) -> Vec<u8> {
    let ([high, low], [time_high, time_low]) = (sequence.to_be_bytes(), time.to_be_bytes());
    let mark = if last { 0xe0 } else { 0x60 };
    interleaved(0, &[&[0x80, mark, high, low, 0, 0, time_high, time_low, 0, 0, 0, 1][..], payload].concat())
}

/// A film's NAL units.
fn units(folder: &Path, format: &str) -> Vec<Vec<u8>> {
    let encoder = ["-pix_fmt", format, "-c:v", "libx264", "-g", "10", "-bf", "0", "-x264-params", "slices=1:sliced-threads=0"];
    let film = std::fs::read(chart_film(folder, &format!("{format}.h264"), &encoder)).unwrap();
    let starts: Vec<usize> = (0..film.len()).filter(|&at| film[at..].starts_with(&[0, 0, 1])).collect();
    let ends = starts.iter().skip(1).copied().chain([film.len()]);
    // Of a start code of four bytes the first is left with the unit before.
    starts.iter().zip(ends).map(|(&start, end)| film[start + 3..end].strip_suffix(&[0]).unwrap_or(&film[start + 3..end]).to_vec()).collect()
}

/// A film's units as a camera sends them: packets, pictures by the time of the slice that ends them.
fn packets(units: &[Vec<u8>]) -> Vec<u8> {
    let (mut bytes, mut time) = (Vec::new(), 1);
    for (sequence, unit) in (1..).zip(units) {
        let is_slice = matches!(unit[0] & 31, 1 | 5);
        bytes.extend(rtp_of(sequence, time * 90, is_slice, unit));
        time += u16::from(is_slice);
    }
    bytes
}

/// A bit that changes on the way may make a picture look like one of a kind that is not read here.
#[test]
fn one_damaged_picture_does_not_make_a_stream_of_another_kind() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let film = units(folder.path(), "yuv420p");
    let slices: Vec<usize> = (0..film.len()).filter(|&at| film[at][0] & 31 == 1).take(12).collect();
    let keys: Vec<usize> = (0..film.len()).filter(|&at| film[at][0] & 31 == 5).collect();
    // `first_mb_in_slice` 0, then `slice_type` 4: SI (ITU-T H.264 table 7-6), and the first set of parameters.
    for (what, damaged) in [("within", slices[6]), ("at first", keys[0])] {
        let mut film = film.clone();
        film[damaged][1] = 0b1001_0110 | film[damaged][1] & 1;
        let port = sending(packets(&film[..film.len() / 2]));
        let seen = read_source(&format!("rtsp://127.0.0.1:{port}/x"), 60, 5.0, &[(ALONE.0, ALONE.1.to_owned())]);
        assert_eq!(seen.frames.len(), 60, "{what}: {:?} {:?}", seen.error, seen.told);
        assert!(seen.told.iter().any(|told| told.contains("Damaged") && told.contains("slice type")), "{what}: {:?}", seen.told);
        assert!(seen.told.iter().all(|told| !told.contains("install")), "{what}: {:?}", seen.told);
    }
}

#[test]
fn a_stream_of_another_kind_is_left_to_ffmpeg() {
    if !need_program("ffmpeg") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let address = format!("rtsp://127.0.0.1:{}/x", sending(packets(&units(folder.path(), "yuv444p"))));
    let own = ("CAMERAS_DECODER", "own".to_owned());
    let seen = read_source(&address, 20, 5.0, std::slice::from_ref(&own));
    assert_eq!(seen.frames.len(), 20, "{:?} {:?}", seen.error, seen.told);
    assert!(seen.told.iter().any(|told| told == "Decoding { by: \"ffmpeg\" }"), "{:?}", seen.told);
    let error = read_source(&address, 20, 5.0, &[own, (ALONE.0, ALONE.1.to_owned())]).error.unwrap();
    assert!(error.contains("install the package ffmpeg"), "{error}");
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn cameras_that_send_anything_are_errors() {
    let noises = |header: usize| (0..64).flat_map(|n: u16| rtp(n, &noise(n.into(), header + usize::from(n) % 40))).collect::<Vec<_>>();
    let hostile: [(&str, Vec<u8>); 10] = [
        ("bytes of no protocol", noise(1, 5000)),
        ("packets of nothing", (0..9).flat_map(|n| interleaved(n % 2, &[])).collect()),
        ("headers that are cut off", (0..12).flat_map(|n| interleaved(0, &rtp(1, &[])[4..4 + n])).collect()),
        ("a packet that is longer than what comes", [b"$\0\xff\xff".to_vec(), noise(2, 100)].concat()),
        ("packets of channels that nobody asked for", (2..60).flat_map(|n| interleaved(n, &rtp(1, &[0x65, 1])[4..])).collect()),
        ("reports of nothing", (0..20).flat_map(|n| interleaved(1, &noise(n, 28))).collect()),
        ("payloads of noise", noises(1)),
        // RFC 6184 sections 5.7.1 and 5.8.
        ("an aggregation of more than there is", (0..40).flat_map(|n| rtp(n, &[0x78, 0xff, 0xff, 0x65, 1, 2])).collect()),
        ("fragments of what never began", (0..40).flat_map(|n| rtp(n, &[0x7c, 0x05, 1, 2, 3])).collect()),
        ("parameters that are none", (0..40).flat_map(|n| rtp(n, &[&[0x67][..], &noise(u64::from(n) + 9, 30)].concat())).collect()),
    ];
    for (what, bytes) in hostile {
        let port = sending(bytes);
        let start = Instant::now();
        let told = told_of(&format!("rtsp://me:secret@127.0.0.1:{port}/x"), Duration::from_secs(2));
        assert!(!told.contains("secret") && start.elapsed() < Duration::from_secs(20), "{what}: {:?}: {told}", start.elapsed());
    }
}

/// A camera that answers these methods otherwise, and then sends these bytes.
fn odd_camera(bytes: Vec<u8>, odd: &'static [(&'static str, &'static str, &'static str)]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let bytes = bytes.clone();
            std::thread::spawn(move || {
                answer(client, &bytes, &mut |head| {
                    let method = head[0].split(' ').next()?;
                    let (_, status, lines) = odd.iter().find(|(asked, ..)| *asked == method)?;
                    Some((*status, (*lines).to_owned()))
                })
            });
        }
    });
    port
}

#[test]
fn a_camera_that_is_not_understood_is_left_to_ffmpeg() {
    const PLAYED: &str = "printf 'YUV4MPEG2 W2 H2 F10:1 Ip A1:1 C420\\n'; while printf 'FRAME\\nabcdef'; do sleep 0.05; done";
    const WRONG: &str = "WWW-Authenticate: Digest realm=\"camera\", nonce=\"abc\"\r\n";
    const SESSION: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1;timeout=60.5\r\n";
    const STALE: &str = "WWW-Authenticate: Digest realm=\"camera\", nonce=\"abc\", stale=true\r\n";
    let start_codes = (0..40).flat_map(|n| rtp(n, &[0, 0, 0, 1, 0x65, 1, 2])).collect::<Vec<_>>();
    let cameras: [(&str, u16, &str); 5] = [
        ("a header", odd_camera(Vec::new(), &[("SETUP", "200 OK", SESSION)]), "60.5"),
        (
            "another place",
            odd_camera(Vec::new(), &[("DESCRIBE", "302 Moved", "Location: rtsp://127.0.0.1:1/there\r\n")]),
            "127.0.0.1:1/there",
        ),
        ("a login asked for anew", odd_camera(Vec::new(), &[("SETUP", "401 Unauthorized", STALE)]), "another nonce"),
        ("the same at once", odd_camera(Vec::new(), &[("DESCRIBE", "401 Unauthorized", STALE)]), "another nonce"),
        ("packets", odd_camera(start_codes, &[]), "nal"),
    ];
    for (what, port, complaint) in cameras {
        let folder = tempfile::tempdir().unwrap();
        stand_in(folder.path(), "ffmpeg", &format!("echo \"$*\" >> {}/arguments; {PLAYED}", folder.path().display()));
        let address = format!("rtsp://me:secret@127.0.0.1:{port}/x");
        let seen = read_source(&address, 3, 5.0, &[("PATH", path_with(folder.path())), ("CAMERAS_DECODER", "own".into())]);
        assert_eq!(seen.frames.len(), 3, "{what}: {:?} {:?}", seen.error, seen.told);
        let handed: Vec<_> = seen.told.iter().filter(|told| told.contains("OtherProgram")).collect();
        assert!(handed.len() == 1 && handed[0].contains(complaint), "{what}: {:?}", seen.told);
        assert!(seen.told.iter().all(|told| !told.contains("secret") && !told.starts_with("lost")), "{what}: {:?}", seen.told);
        assert!(arguments_of(folder.path()).contains(&address), "{what}: {}", arguments_of(folder.path()));
    }
    // A wrong password is none of that, nor a path that is not there.
    let refusing = odd_camera(Vec::new(), &[("DESCRIBE", "401 Unauthorized", WRONG)]);
    for (port, complaint) in [
        (refusing, "refuses this user name or password (401 Unauthorized)"),
        (odd_camera(Vec::new(), &[("DESCRIBE", "404 Not Found", "")]), "answers 404 (not found"),
        (odd_camera(Vec::new(), &[("DESCRIBE", "503 Service Unavailable", "")]), "answers 503 (it is not available"),
    ] {
        let told = told_of(&format!("rtsp://me:secret@127.0.0.1:{port}/x"), Duration::from_secs(5));
        assert!(told.contains(complaint) && !told.contains("Other") && !told.contains("secret"), "{told}");
    }
}
