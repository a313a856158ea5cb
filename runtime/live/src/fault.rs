use edge_seg_bundle::text::shown_lines;

/// What is wrong with a source. What strangers wrote is in it, and nothing of that is hidden where it is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A program that reads this kind of source, or a part of it, is not there.
    #[error("this source is read by {program}, which is not installed; install the package {package}")]
    MissingProgram {
        /// The program, or its part.
        program: &'static str,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// The program that reads the source ended.
    #[error("{program} ended ({status}): {said}", said = shown_lines(said))]
    Ended {
        /// The program.
        program: &'static str,
        /// Its exit status.
        status: String,
        /// The last line that it wrote to stderr.
        said: String,
    },
    /// A camera on the network answers with an error, or what it sends cannot be read.
    #[error("{said}", said = shown_lines(said))]
    Camera {
        /// The status of its answer, if it was one.
        status: Option<u16>,
        /// What is wrong.
        said: String,
    },
    /// The source is open and sends nothing.
    #[error("no frame for {after_ms} ms")]
    Stalled {
        /// How long was waited.
        after_ms: u64,
    },
    /// The bytes are no such stream.
    #[error("{place}: expected {expected}, found {found}", place = shown_lines(place), expected = shown_lines(expected), found = shown_lines(found))]
    Stream {
        /// The header, or the frame's number.
        place: String,
        /// What the format asks for.
        expected: String,
        /// What came.
        found: String,
    },
    /// The name of the source cannot be used.
    #[error("expected {expected}, found {found}", expected = shown_lines(expected), found = shown_lines(found))]
    Name {
        /// What is accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The system refused.
    #[error("{said}", said = shown_lines(&.0.to_string()))]
    Io(#[from] std::io::Error),
}

impl Fault {
    pub(super) fn stream(place: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Stream { place: place.into(), expected: expected.into(), found: found.into() }
    }

    pub(super) fn name(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Name { expected: expected.into(), found: found.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_camera_says_is_told_without_what_terminals_obey() {
        let said = "no SDP: v=0\r\u{1b}[2J\u{202e}".to_owned();
        let shown = "no SDP: v=0\\r\\u{1b}[2J\\u{202e}";
        assert_eq!(Fault::Camera { status: None, said: said.clone() }.to_string(), shown);
        assert_eq!(Fault::Io(std::io::Error::other(said.clone())).to_string(), shown);
        assert_eq!(
            Fault::Ended { program: "ffmpeg", status: "1".into(), said: said.clone() }.to_string(),
            format!("ffmpeg ended (1): {shown}")
        );
        assert_eq!(Fault::name("a name", said.clone()).to_string(), format!("expected a name, found {shown}"));
        assert_eq!(Fault::stream("frame 1", "a frame", said).to_string(), format!("frame 1: expected a frame, found {shown}"));
    }
}
