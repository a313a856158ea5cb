use super::View;
use crate::Result;

/// Something that shows a view.
pub trait Screen: Send {
    /// Draws it and brings it to the glass.
    ///
    /// # Errors
    /// [`Error::Sink`](crate::Error::Sink) if the device does not take it.
    fn show(&mut self, view: &View) -> Result<()>;
}
