//! Texts for messages, without the secrets in them.

/// A text without the passwords of the addresses in it, for messages: what comes before the last `@` of an address, whatever it
/// holds, and the values of what is named like a secret, in its query or in its path.
#[must_use]
pub fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (scheme, address) = rest.split_at(at + 3);
        shown.push_str(&without_logins(scheme));
        // An address ends at white space; a quote or bracket may belong to a password.
        let (address, behind) = address.split_at(address.find(char::is_whitespace).unwrap_or(address.len()));
        shown.push_str(&without_secrets(address));
        rest = behind;
    }
    shown + &without_logins(rest)
}

/// A text without what looks like `USER:PASSWORD@HOST`, as people write an address whose scheme they forgot or slipped in.
fn without_logins(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(without_login).collect()
}

fn without_login(word: &str) -> String {
    let is_host = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '[');
    let ends = word.rmatch_indices('@').map(|(at, _)| at).find(|at| is_host(&word[at + 1..]));
    let Some((ends, colon)) = ends.and_then(|ends| word[..ends].find(':').map(|colon| (ends, colon))) else { return word.to_owned() };
    let starts = word[..colon].find(|c: char| "\"'`([{<=".contains(c)).map_or(0, |at| at + 1);
    // `hf:OWNER/NAME@REVISION` names a model.
    if colon <= starts || ends == colon + 1 || &word[starts..colon] == "hf" {
        return word.to_owned();
    }
    format!("{}***{}", &word[..starts], &word[ends..])
}

/// One address without its secrets: as [`redacted`], white space included, and without the last part of an RTMP path, which is a key
/// to the server that takes the video.
#[must_use]
pub fn redacted_address(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return without_logins(address) };
    let shown = without_secrets(rest);
    if !scheme.to_ascii_lowercase().starts_with("rtmp") {
        return format!("{scheme}://{shown}");
    }
    let (path, query) = shown.split_once('?').map_or((shown.as_str(), String::new()), |(path, query)| (path, format!("?{query}")));
    match path.rsplit_once('/') {
        Some((before, key)) if before.contains('/') && !key.is_empty() => format!("{scheme}://{before}/***{query}"),
        _ => format!("{scheme}://{shown}"),
    }
}

fn without_secrets(address: &str) -> String {
    let host_ends = address.find('/').unwrap_or(address.len());
    let host = &address[..host_ends];
    // A password may hold a slash, and then a colon comes before it. An @ in the path behind a bare host is none of a password's, nor one
    // in a value behind a host with its port.
    let has_port = host.rsplit_once(':').is_some_and(|(name, port)| {
        port.bytes().all(|digit| digit.is_ascii_digit()) && (name.contains('.') || name.starts_with('[') || name == "localhost")
    });
    let in_login = |at: usize| host.contains(':') && !(has_port && address[host_ends..at].contains('='));
    let user_ends = address.rfind('@').filter(|&at| at < host_ends || in_login(at));
    let (user, rest) = user_ends.map_or(("", address), |at| ("***", &address[at..]));
    format!("{user}{}", rest.split('&').map(without_value).collect::<Vec<_>>().join("&"))
}

/// What stands between two `&` of an address, without the value of what is named like a secret. Cameras take such names in paths too,
/// as in `/user=admin_password=1234_channel=1`.
fn without_value(part: &str) -> String {
    let mut key = 0;
    for (at, c) in part.char_indices() {
        match c {
            '=' if is_secret(&part[key..at]) => {
                return format!("{}***", &part[..=at]);
            }
            '=' | '/' | '?' | ';' | '#' => key = at + 1,
            _ => {}
        }
    }
    part.to_owned()
}

/// Whether a value of this name is nobody's business.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret)) || SHORT_SECRETS.contains(&name.as_str())
}

/// Whole names of such values: `code` begins `codec` too.
const SHORT_SECRETS: [&str; 4] = ["p", "st", "code", "pin"];
/// Parts of the names of such values.
const SECRETS: [&str; 18] = [
    "user", "usr", "login", "pas", "psw", "pw", "token", "secret", "auth", "key", "cred", "sig", "sid", "session", "ticket", "jwt", "hash",
    "streamid",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(redacted("rtsp://me:secret@camera/1"), "rtsp://***@camera/1");
        assert_eq!(redacted("rtsp://camera/a@b"), "rtsp://camera/a@b");
        assert_eq!(redacted("rtsp://me:123/456@camera/1"), "rtsp://***@camera/1");
        for password in ["se/cret", "se?cret", "se#cret", "se@cret", "s/e:c@ret", "\"secret'"] {
            let said = redacted(&format!("rtsp://me:{password}@10.0.0.7:554/x: Connection refused"));
            assert_eq!(said, "rtsp://***@10.0.0.7:554/x: Connection refused");
        }
        assert_eq!(redacted("a rtsp://h/x?user=me&Password=it&size=3 b"), "a rtsp://h/x?user=***&Password=***&size=3 b");
        // As cameras and servers take logins outside of an address's beginning.
        for (address, shown) in [
            ("rtsp://h:554/user=me&password=it&channel=1", "rtsp://h:554/user=***&password=***&channel=1"),
            ("rtsp://h/channel=1_user=me_password=it_stream=0.sdp", "rtsp://h/channel=1_user=***"),
            ("http://h/video.cgi?resolution=32&usr=me&psw=it", "http://h/video.cgi?resolution=32&usr=***&psw=***"),
            ("http://h:81/x.cgi?loginuse=me&loginpas=it&size=3", "http://h:81/x.cgi?loginuse=***&loginpas=***&size=3"),
            ("https://h/x.m3u8?_sid=it&sig=it&se=3", "https://h/x.m3u8?_sid=***&sig=***&se=3"),
            ("http://10.0.0.7:81/x?usr=me&pwd=se@cret", "http://10.0.0.7:81/x?usr=***&pwd=***"),
            ("rtsp://[::1]:554/user=me&password=se@cret&channel=1", "rtsp://[::1]:554/user=***&password=***&channel=1"),
            ("rtsp://me:1/2=3@10.0.0.7/x", "rtsp://***@10.0.0.7/x"),
            ("http://h/x?password=a/b?c#d&size=3", "http://h/x?password=***&size=3"),
            ("srt://h:9?latency=20&passphrase=it&streamid=publish:a:me:it", "srt://h:9?latency=20&passphrase=***&streamid=***"),
            ("http://h/x?u=me&pw=it&size=3", "http://h/x?u=me&pw=***&size=3"),
            ("https://h/x.m3u8?st=it&e=3&code=it&p=it", "https://h/x.m3u8?st=***&e=3&code=***&p=***"),
            ("http://h/x?codec=h264&stream=1&pt=96", "http://h/x?codec=h264&stream=1&pt=96"),
            ("http://h/a=b/c?d=e&f=g", "http://h/a=b/c?d=e&f=g"),
        ] {
            assert_eq!((redacted(address), redacted_address(address)), (shown.to_owned(), shown.to_owned()));
        }
        for (address, shown) in [
            ("rtmp://h/live/abcd-1234", "rtmp://h/live/***"),
            ("RTMPS://h:443/app/abcd?user=me", "RTMPS://h:443/app/***?user=***"),
            ("rtmp://h/camera", "rtmp://h/camera"),
            ("rtsp://me:se cret@h/x", "rtsp://***@h/x"),
            ("rtsp//me:secret@h/x", "***@h/x"),
            ("out/film.mp4", "out/film.mp4"),
        ] {
            assert_eq!(redacted_address(address), shown);
        }
        assert_eq!(redacted("v4l2:///dev/video0?size=640x480"), "v4l2:///dev/video0?size=640x480");
        assert_eq!(redacted("nothing"), "nothing");
    }

    #[test]
    fn logins_without_a_scheme_are_hidden_and_what_is_none_is_not() {
        for (text, shown) in [
            ("rtsp:/admin:PW@h/s", "***@h/s"),
            ("no file \"admin:PW@192.168.1.20\"", "no file \"***@192.168.1.20\""),
            ("--webhook=u:P=W@h x", "--webhook=***@h x"),
            ("source = 'admin:P@W@h'", "source = '***@h'"),
            ("rtps://u:PW@h pi:PW@h", "rtps://***@h ***@h"),
        ] {
            assert_eq!(redacted(text), shown);
        }
        for plain in ["git@host:path", "hf:me/tiny@v1", "a@b", "edge-seg: pi@host: refused", "12:30 @ 5", ":@h", "cat: \"tom\""] {
            assert_eq!(redacted(plain), plain);
        }
    }
}
