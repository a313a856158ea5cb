use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use url::Url;

use super::Fault;

/// An address without its login, which must not get into what libraries say.
#[derive(Clone)]
pub(super) struct Address {
    pub url: Url,
    pub login: Option<Login>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub user: String,
    pub password: String,
}

impl Address {
    /// Takes `scheme://user:password@host:port/path` apart. The password may hold any letters but a slash, also without escapes, as
    /// ffmpeg takes it.
    pub fn parse(address: &str) -> Result<Self, Fault> {
        let wrong = |why: String| Fault::name("an address like rtsp://HOST/PATH or http://USER:PASSWORD@HOST:PORT/PATH", why);
        let (scheme, rest) = address.split_once("://").ok_or_else(|| wrong("one without ://".into()))?;
        let authority_ends = rest.find('/').unwrap_or(rest.len());
        // A query may follow the host at once, and hold an @ of its own; a password may hold a question mark, and then an @ comes behind it.
        let login_ends = rest[..authority_ends].rfind('@');
        let login = login_ends.map(|at| {
            let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
            Login { user: unescaped(user), password: unescaped(password) }
        });
        let rest = login_ends.map_or(rest, |at| &rest[at + 1..]);
        let hint = if login_ends.is_none() && rest.contains('@') { "; a slash in a password is written as %2F" } else { "" };
        let url = Url::parse(&format!("{scheme}://{rest}")).map_err(|e| wrong(format!("one that is none: {e}{hint}")))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("one without a host".into()));
        }
        Ok(Self { url, login })
    }
}

/// Text with its `%41` taken as the letters that they stand for; what is no such escape stays.
fn unescaped(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_taken_out_of_addresses() {
        let found = |address: &str| {
            let address = Address::parse(address).unwrap();
            (address.url.to_string(), address.login.map(|login| (login.user, login.password)))
        };
        let me = |password: &str| Some(("me".to_owned(), password.to_owned()));
        assert_eq!(found("rtsp://camera/1?a=b@c"), ("rtsp://camera/1?a=b@c".into(), None));
        assert_eq!(found("rtsp://me:it@10.0.0.7:8554/x"), ("rtsp://10.0.0.7:8554/x".into(), me("it")));
        assert_eq!(found("rtsp://me@h/"), ("rtsp://h/".into(), me("")));
        for (typed, password) in [("a@b", "a@b"), ("a%40b", "a@b"), ("a:b", "a:b"), ("a?b#c", "a?b#c"), ("100%", "100%"), ("%zz", "%zz")] {
            assert_eq!(found(&format!("http://me:{typed}@h:81/v?size=3")), ("http://h:81/v?size=3".into(), me(password)), "{typed}");
        }
        for wrong in ["rtsp:/x", "rtsp://", "rtsp://me:secret@", "rtsp://h:99999/", "rtsp://[::1/x"] {
            let said = Address::parse(wrong).err().expect(wrong).to_string();
            assert!(said.contains("an address like") && !said.contains("secret"), "{said}");
        }
        let said = Address::parse("rtsp://me:se/cret@h/x").err().unwrap().to_string();
        assert!(said.contains("%2F") && !said.contains("cret"), "{said}");
    }
}
