//! Names of files, as Python has them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::error::option;

/// A str, bytes, or what has `__fspath__` and gives one of these; any bytes, as file systems have them.
pub struct Path(pub PathBuf);

impl<'py> FromPyObject<'_, 'py> for Path {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if !is_path(&given)? && !given.is_instance_of::<PyBytes>() {
            let found = given.get_type().name()?;
            return Err(PyTypeError::new_err(format!("expected a path (str, bytes or os.PathLike), found {found}")));
        }
        let bytes = given.py().import(intern!(given.py(), "os"))?.call_method1(intern!(given.py(), "fsencode"), (given,))?;
        Ok(Self(OsString::from_vec(bytes.cast::<PyBytes>()?.as_bytes().to_vec()).into()))
    }
}

/// Whether it is a path where bytes would be a file's contents.
pub fn is_path(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(given.is_instance_of::<PyString>() || given.hasattr(intern!(given.py(), "__fspath__"))?)
}

impl Path {
    /// The name as text, where nothing else will do.
    pub fn text(self, what: &str) -> PyResult<String> {
        self.0
            .into_os_string()
            .into_string()
            .map_err(|name| option(what, "a name in UTF-8; try: a link to it with such a name", format!("{name:?}")))
    }
}
