//! What a camera answers to DESCRIBE, where `retina` keeps that to itself.

use std::io::{Error, Result};
use std::time::Duration;

use http_auth::{ChallengeParser, PasswordClient, PasswordParams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::{Address, Login};

/// How long a camera may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
const LONGEST: usize = 1 << 14;

/// A camera and what it was asked.
struct Asked<'a> {
    url: &'a str,
    stream: TcpStream,
    questions: u32,
    bytes: Vec<u8>,
}

impl<'a> Asked<'a> {
    async fn connect(address: &'a Address) -> Result<Self> {
        let host = address.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, address.url.port().unwrap_or(554))).await?;
        Ok(Self { url: address.url.as_str(), stream, questions: 0, bytes: Vec::new() })
    }

    /// The head of its answer.
    async fn describe(&mut self, authorization: Option<&str>) -> Result<String> {
        self.questions += 1;
        let login = authorization.map(|answer| format!("Authorization: {answer}\r\n")).unwrap_or_default();
        let program = concat!("edge-seg/", env!("CARGO_PKG_VERSION"));
        let head = format!("DESCRIBE {} RTSP/1.0\r\nCSeq: {}\r\nUser-Agent: {program}\r\n", self.url, self.questions);
        self.stream.write_all(format!("{head}Accept: application/sdp\r\n{login}\r\n").as_bytes()).await?;
        let head_ends = loop {
            match self.bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.read_on().await?,
            }
        };
        let head = String::from_utf8_lossy(&self.bytes[..head_ends]).into_owned();
        let body = values(&head, "Content-Length").first().and_then(|length| length.parse().ok()).unwrap_or(0);
        let ends = head_ends.saturating_add(body);
        while self.bytes.len() < ends {
            self.read_on().await?;
        }
        self.bytes.drain(..ends);
        Ok(head)
    }

    async fn read_on(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.bytes).await? {
            1.. if self.bytes.len() <= LONGEST => Ok(()),
            _ => Err(Error::other("no answer of a usual length")),
        }
    }
}

fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// Where a camera sends on to.
pub(super) async fn sends_on_to(address: &Address) -> Option<String> {
    let ask = async {
        let mut asked = Asked::connect(address).await?;
        let mut head = asked.describe(None).await?;
        if let Some(answer) = address.login.as_ref().and_then(|login| answer_to(&head, login, asked.url)) {
            head = asked.describe(Some(&answer)).await?;
        }
        Ok::<_, Error>(values(&head, "Location").first().map(|&place| place.to_owned()))
    };
    tokio::time::timeout(PATIENCE, ask).await.ok()?.ok()?
}

/// Whether a camera says that what it refuses is not the login, but how old the answer's nonce is (RFC 7616 section 3.3).
pub(super) async fn renews_login(address: &Address, login: &Login) -> bool {
    let ask = async {
        let mut asked = Asked::connect(address).await?;
        let head = asked.describe(None).await?;
        let Some(answer) = answer_to(&head, login, asked.url) else { return Ok(false) };
        let head = asked.describe(Some(&answer)).await?;
        Ok::<_, Error>(is_stale(&values(&head, "WWW-Authenticate")))
    };
    matches!(tokio::time::timeout(PATIENCE, ask).await, Ok(Ok(true)))
}

fn answer_to(head: &str, login: &Login, uri: &str) -> Option<String> {
    respond(&values(head, "WWW-Authenticate"), login, "DESCRIBE", uri)
}

/// The answer to what a camera asks of a login: Basic or Digest.
pub(super) fn respond(challenges: &[&str], login: &Login, method: &str, uri: &str) -> Option<String> {
    let mut client = PasswordClient::try_from(challenges.join(", ").as_str()).ok()?;
    let (username, password) = (login.user.as_str(), login.password.as_str());
    // With a body to protect, `auth-int` would be chosen wherever it is offered, which few cameras know well.
    [None, Some(&[][..])].into_iter().find_map(|body| client.respond(&PasswordParams { username, password, uri, method, body }).ok())
}

/// Whether one of the ways to log in that a camera offers says `stale=true`.
pub(super) fn is_stale(challenges: &[&str]) -> bool {
    challenges.iter().flat_map(|text| ChallengeParser::new(text).map_while(std::result::Result::ok)).any(|challenge| {
        let mut values = challenge.params.iter().filter(|(key, _)| key.eq_ignore_ascii_case("stale"));
        values.any(|(_, value)| value.to_unescaped().eq_ignore_ascii_case("true"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_is_old_is_told_from_one_that_is_wrong() {
        for (challenges, stale) in [
            (&[r#"Digest realm="a", nonce="b", stale=TRUE"#][..], true),
            (&[r#"Digest realm="a", nonce="b", Stale="true", qop="auth,auth-int""#], true),
            (&[r#"Basic realm="a""#, r#"Digest realm="a", stale=true, nonce="b""#], true),
            (&[r#"Digest realm="stale=true", nonce="b", stale=false"#], false),
            (&[r#"Digest realm="a", nonce="b""#], false),
            (&["", "Digest"], false),
            (&[], false),
        ] {
            assert_eq!(is_stale(challenges), stale, "{challenges:?}");
        }
    }

    #[test]
    fn logins_are_answered_by_auth_where_that_is_offered() {
        let login = Login { user: "me".into(), password: "secret".into() };
        let respond = |challenge: &str| super::respond(&[challenge], &login, "GET", "/x");
        let found = respond(r#"Digest realm="a", nonce="b", qop="auth,auth-int""#).unwrap();
        assert!(found.contains("qop=auth") && !found.contains("auth-int"), "{found}");
        assert!(respond(r#"Digest realm="a", nonce="b", qop="auth-int""#).unwrap().contains("auth-int"));
        assert!(respond(r#"Digest realm="a", nonce="b""#).unwrap().starts_with("Digest "));
        assert_eq!(respond(r#"Basic realm="a""#).as_deref(), Some("Basic bWU6c2VjcmV0"));
        assert_eq!(respond("Negotiate"), None);
    }

    #[test]
    fn lines_of_an_answer_are_found_by_their_names() {
        let head = "RTSP/1.0 302 Moved\r\nlocation : rtsp://h:8554/x\r\nCSeq: 1\r\n\r\nLocation: body";
        assert_eq!(values(head, "Location"), ["rtsp://h:8554/x"]);
        assert!(values(head, "Session").is_empty());
    }
}
