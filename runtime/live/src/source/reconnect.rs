use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::{Fault, Notice, Rate, Source, SourceOptions};
use crate::backoff::{Backoff, sleep_until};
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
        self.options.stopped()
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
        sleep_until(|| self.stopped(), pause);
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

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        self.options.stop().flag()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::open_source;
    use super::*;

    #[test]
    fn a_camera_that_is_away_is_let_go_by_its_own_flag_alone() {
        let away = || Err(Error::Source { uri: "camera".into(), fault: Fault::stream("start", "a camera", "none") });
        let (tries, tried) = std::sync::mpsc::channel();
        let options = SourceOptions::default().with_notify(move |notice| tries.send(format!("{notice:?}")).unwrap());
        let mut source = Reconnecting::new(options, away);
        let stop = source.stop_flag().unwrap();
        let reads = std::thread::spawn(move || source.read(&mut Frame::still(Default::default())).unwrap());
        let told = tried.recv().unwrap();
        assert!(told.starts_with("Lost") && told.contains("found: \"none\""), "{told}");
        stop.store(true, Ordering::Relaxed);
        assert!(!reads.join().unwrap(), "a stop is an end");

        let options = SourceOptions::default();
        let [one, other] = [0; 2].map(|_| open_source("test:?fps=1", &options).unwrap());
        let mut sources: [Box<dyn Source>; 2] = [Box::new(one), other];
        let mut frame = Frame::still(Default::default());
        assert!(sources.iter_mut().all(|source| source.read(&mut frame).unwrap()));
        sources[0].stop_flag().unwrap().store(true, Ordering::Relaxed);
        assert!(!sources[0].read(&mut frame).unwrap());
        assert!(sources[1].read(&mut frame).unwrap(), "another of the same options goes on");
        assert!(!options.stop.load(Ordering::Relaxed));
    }
}
