//! What is hidden of pictures.

use std::sync::Arc;

use edge_seg::Session;
use edge_seg::hide::{HideBy, HideOptions, Whole};
use numpy::{PyArray1, PyArray2, PyArray3, PyArrayMethods};
use pyo3::prelude::*;

use crate::error::{EdgeSegError, OptionError, OrRaise, WordsError, option};
use crate::guest::outside;
use crate::picture::{Order, array_from, frame};
use crate::shown::Picture;
use crate::wait::watched;
use crate::words::parse;

/// Words whose things are hidden, made by Model.hide().
#[pyclass(frozen, module = "edge_seg")]
pub struct Hide {
    pub hide: Arc<edge_seg::hide::Hide>,
    session: Arc<Session>,
    home: crate::error::Home,
}

/// What is put in place of what is hidden, by its name.
pub fn by_name(name: &str) -> PyResult<HideBy> {
    match name {
        "fill" => Ok(HideBy::Fill),
        "pixelate" => Ok(HideBy::Pixelate),
        "blur" => Ok(HideBy::Blur),
        other => Err(option("by", "\"fill\", \"pixelate\" or \"blur\"", format!("{other:?}"))),
    }
}

impl Hide {
    pub fn of(
        py: Python<'_>,
        session: &Arc<Session>,
        home: crate::error::Home,
        words: &Bound<'_, PyAny>,
        options: HideOptions,
    ) -> PyResult<Self> {
        if words.is_instance_of::<crate::words::Words>() {
            return Err(WordsError::new_err("hide: expected words as text, found ready ones, whose thresholds are for finding them"));
        }
        let (classes, left_out) = parse(words)?;
        if !left_out.is_empty() {
            return Err(WordsError::new_err(format!("hide: expected words to hide, found {} to be left out", left_out.join(", "))));
        }
        let of_session = session.clone();
        let made = watched(py, None, move |watch| of_session.hide_classes_until(&classes, options, || watch.stopped()))?;
        let hide = made.or_raise()?.ok_or_else(|| EdgeSegError::new_err("hide: stopped"))?;
        Ok(Self { hide: Arc::new(hide), session: session.clone(), home })
    }
}

#[pymethods]
impl Hide {
    /// The words' names.
    #[getter]
    fn names(&self) -> Vec<String> {
        self.hide.names().to_vec()
    }

    /// What is put in their place: "fill", "pixelate" or "blur".
    #[getter]
    fn by(&self) -> &'static str {
        self.hide.options().by.name()
    }

    /// How far around them is hidden too, as a share of the picture's short side.
    #[getter]
    fn margin(&self) -> f32 {
        self.hide.options().margin
    }

    /// The score in 0..1 from which they are hidden.
    #[getter]
    fn threshold(&self) -> f32 {
        self.hide.threshold()
    }

    /// In video, seconds beyond which masks are too old, and whole frames are hidden.
    #[getter]
    fn max_age(&self) -> f64 {
        self.hide.options().max_age.as_secs_f64()
    }

    /// A picture without what the words cover in it, upright: uint8 [height, width, 3], red first.
    #[pyo3(signature = (image, *, order="rgb"))]
    fn show<'py>(&self, py: Python<'py>, image: &Bound<'py, PyAny>, order: &str) -> PyResult<Bound<'py, PyArray3<u8>>> {
        self.home.check("Hide")?;
        let frame = frame(image, Order::parse(order)?)?;
        let (session, hide) = (self.session.clone(), self.hide.clone());
        let shown = watched(py, None, move |_| {
            let encoded = session.encode(&frame)?;
            hide.show(&session, frame, &encoded)
        });
        array_from(py, shown?.or_raise()?.into_inner().pixels)
    }

    fn __repr__(&self) -> String {
        format!("<Hide {} by {}>", crate::words::listed(self.hide.names()), self.by())
    }
}

/// What is hidden of a picture.
#[pyclass(frozen, module = "edge_seg")]
pub struct Hidden(Picture);

impl Hidden {
    /// None of an open picture.
    pub fn of(picture: &Picture) -> Option<Self> {
        picture.cover().map(|_| Self(picture.clone()))
    }

    fn told(&self) -> PyResult<&edge_seg::hide::Hidden> {
        self.0.cover().ok_or_else(|| OptionError::new_err("hidden: expected a picture of which something is hidden, found an open one"))
    }
}

#[pymethods]
impl Hidden {
    /// Share of the picture's pixels, in 0..1.
    #[getter]
    fn share(&self) -> PyResult<f64> {
        Ok(self.told()?.share)
    }

    /// Seconds since the frame was captured that it was hidden by; 0 of a picture.
    #[getter]
    fn age(&self) -> PyResult<f64> {
        Ok(self.told()?.age.as_secs_f64())
    }

    /// Why all of it is hidden: "no-masks" or "old-masks"; None where it is not for such a reason.
    #[getter]
    fn whole(&self) -> PyResult<Option<&'static str>> {
        Ok(self.told()?.whole.map(Whole::name))
    }

    /// Where: bool [height, width].
    #[getter]
    fn mask<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<bool>>> {
        let cover = &self.told()?.cover;
        let (width, height) = cover.frame_px();
        let mask = outside(py, || (0..height).flat_map(|y| (0..width).map(move |x| cover.hides(x, y))).collect::<Vec<bool>>());
        PyArray1::from_vec(py, mask).reshape([height as usize, width as usize])
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!("<Hidden {:.1} %>", 100.0 * self.share()?))
    }
}
