use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Fault, Notice, Rate, Source, SourceOptions};
use crate::backoff::{Backoff, sleep_unless};
use crate::{Error, Result};
use edge_seg_model::Frame;

/// A source that is opened again whenever it ends or breaks, with pauses that double while nothing comes.
pub(super) struct Reconnecting {
    open: Box<dyn FnMut() -> Result<Box<dyn Source>> + Send>,
    inner: Option<Box<dyn Source>>,
    options: SourceOptions,
    pauses: Backoff,
    lost: bool,
    /// Whether it has ever sent a frame.
    began: bool,
    sequence: u64,
    start: Instant,
}

impl Reconnecting {
    pub fn new(options: SourceOptions, open: impl FnMut() -> Result<Box<dyn Source>> + Send + 'static) -> Self {
        Self {
            open: Box::new(open),
            inner: None,
            options,
            pauses: Backoff::default(),
            lost: false,
            began: false,
            sequence: 0,
            start: Instant::now(),
        }
    }

    fn stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }

    /// No pause installs a program, or teaches a camera a format.
    fn is_final(&self, error: &Error) -> bool {
        !self.began && matches!(error, Error::Source { fault: Fault::MissingProgram { .. } | Fault::Name { .. }, .. })
    }

    fn rest(&mut self, why: Option<Error>) {
        self.inner = None;
        self.lost = true;
        let mut pause = self.pauses.pause();
        if why.as_ref().is_some_and(is_wrong_login) {
            pause = pause.max(AFTER_WRONG_LOGIN);
        }
        (self.options.notify)(Notice::Lost { why, retry_in: pause });
        sleep_unless(&self.options.stop, pause);
    }
}

/// Cameras lock an account that tries a wrong password again and again, often five times in some minutes.
const AFTER_WRONG_LOGIN: Duration = Duration::from_secs(60);

fn is_wrong_login(error: &Error) -> bool {
    match error {
        Error::Source { fault: Fault::Camera { status, .. }, .. } => *status == Some(401),
        Error::Source { fault: Fault::Ended { said, .. }, .. } => said.contains("401 Unauthorized"),
        _ => false,
    }
}

impl Source for Reconnecting {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        while !self.stopped() {
            if self.inner.is_none() {
                match (self.open)() {
                    Ok(source) => self.inner = Some(source),
                    Err(e) if self.is_final(&e) => return Err(e),
                    Err(e) => {
                        self.rest(Some(e));
                        continue;
                    }
                }
            }
            let Some(inner) = &mut self.inner else { continue };
            match inner.read(frame) {
                Ok(true) => {
                    (frame.sequence, frame.timestamp, self.began) = (self.sequence, self.start.elapsed(), true);
                    self.sequence += 1;
                    self.pauses.reset();
                    if std::mem::take(&mut self.lost) {
                        (self.options.notify)(Notice::Back);
                    }
                    return Ok(true);
                }
                _ if self.stopped() => {}
                Ok(false) => self.rest(None),
                Err(e) if self.is_final(&e) => return Err(e),
                Err(e) => self.rest(Some(e)),
            }
        }
        Ok(false)
    }

    fn rate(&self) -> Option<Rate> {
        self.inner.as_ref().and_then(|s| s.rate())
    }

    fn decoder(&self) -> Option<&'static str> {
        self.inner.as_ref().and_then(|s| s.decoder())
    }

    fn is_live(&self) -> bool {
        true
    }
}
