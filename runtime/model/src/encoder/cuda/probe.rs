//! Whether a GPU can be used, and what is missing if not.

use std::path::PathBuf;

use anyhow::Context as _;
use tract_onnx::prelude::*;

use super::faults::{fix_for, one_line, quietly};
use crate::device::{Choice, Device, DeviceFault};
use crate::{Error, Result};

pub(super) const RUNTIME: &str = "cuda";

/// Looks for what the GPU needs to run: the driver, the GPU and the libraries, opened by name.
fn probe() -> Result<()> {
    // A library that answers in an unforeseen way makes the binding panic.
    match quietly(|| runtime_for_name(RUNTIME)) {
        Ok(Ok(Some(_))) => Ok(()),
        Ok(Ok(None)) => Err(unusable(
            "this program was built without support for it",
            "build it with the feature cuda (CUDA 13.0), cuda-12060 or cuda-12020",
        )),
        Ok(Err(error)) => {
            let found = format!("{error:#}");
            let fix = fix_for(&found);
            Err(unusable(one_line(&found), fix))
        }
        Err(panic) => {
            let fix = fix_for(&panic);
            Err(unusable(panic, fix))
        }
    }
}

/// Makes the GPU ready: its context, and the kernels where none are kept. Only this tells whether a GPU that is there can be had.
fn open() -> Result<()> {
    let smallest = || {
        let mut model = TypedModel::default();
        let source = model.add_source("opening", f32::fact([1]))?;
        model.select_output_outlets(&[source])?;
        runtime_for_name(RUNTIME)?.context("no such runtime")?.prepare(model).map(drop)
    };
    let found = match quietly(smallest) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => panic,
    };
    let fix = fix_for(&found);
    Err(unusable(one_line(&found), fix))
}

/// Decides where the image encoder runs. A GPU that can be used is taken into use, for a GPU that is there may still be another program's;
/// at the first time its kernels are compiled.
///
/// # Errors
/// [`Error::Device`] if `asked` is [`Device::Cuda`] and no GPU can be used; it names what is missing and what mends that.
pub fn choose_device(asked: Device) -> Result<Choice> {
    match asked {
        Device::Cpu => Ok(Choice { device: Device::Cpu, why: "the processor was asked for".into() }),
        Device::Cuda => take().map(|()| Choice { device: Device::Cuda, why: "it was asked for".into() }),
        Device::Auto => Ok(match take() {
            Ok(()) => Choice { device: Device::Cuda, why: "an NVIDIA GPU can be used".into() },
            Err(error) => Choice { device: Device::Cpu, why: error.to_string() },
        }),
    }
}

fn take() -> Result<()> {
    probe_cuda()?;
    open()
}

/// Whether an NVIDIA GPU can be used: support in this program, driver, GPU, libraries and headers, in this order. Nothing is kept
/// open, and nothing is compiled.
///
/// # Errors
/// [`Error::Device`] names the first thing that is missing and what mends that.
pub fn probe_cuda() -> Result<()> {
    probe()?;
    headers(Toolkit::find().as_ref())
}

pub(crate) fn unusable(found: impl Into<String>, fix: impl Into<String>) -> Error {
    Error::Device { device: "cuda", fault: DeviceFault::Unusable, found: found.into(), fix: fix.into() }
}

/// Where the engine looks for the headers that the GPU's kernels are compiled from at their first use.
struct Toolkit {
    named_by: &'static str,
    home: PathBuf,
}

impl Toolkit {
    fn find() -> Option<Self> {
        let named = |name| Some(Self { named_by: name, home: std::env::var_os(name)?.into() });
        let usual = || Some(Self { named_by: "the usual place", home: "/usr/local/cuda".into() }).filter(|toolkit| toolkit.home.exists());
        named("CUDA_HOME").or_else(|| named("CUDA_PATH")).or_else(usual)
    }
}

/// A header that the kernels include, where it lies below the folder of headers, and the package that brings it, by NVIDIA's names.
const HEADERS: [(&str, &[&str], &str); 3] = [
    ("cuda_fp16.h", &[""], "cuda-cudart-dev-N-M"),
    ("math_constants.h", &[""], "cuda-cudart-dev-N-M"),
    ("cuda/std/cstdint", &["cccl", "libcudacxx/include", ""], "cuda-cccl-N-M"),
];

fn headers(toolkit: Option<&Toolkit>) -> Result<()> {
    let install = |package: &str| format!("install {package} (N-M is CUDA's release, as in 12-6), or let CUDA_HOME name a toolkit");
    let Some(toolkit) = toolkit else {
        return Err(unusable(
            "no headers to compile kernels with: neither CUDA_HOME is set nor /usr/local/cuda there",
            install("cuda-cudart-dev-N-M and cuda-cccl-N-M"),
        ));
    };
    let mut roots = vec![toolkit.home.join("include")];
    if let Ok(targets) = std::fs::read_dir(toolkit.home.join("targets")) {
        roots.extend(targets.filter_map(|entry| Some(entry.ok()?.path().join("include"))));
    }
    // The engine takes the first folder that holds the first header, and looks for the others there alone.
    let root = roots.iter().find(|root| root.join(HEADERS[0].0).exists()).unwrap_or(&roots[0]);
    for (header, below, package) in HEADERS {
        if !below.iter().any(|below| root.join(below).join(header).exists()) {
            let found = format!("no header {header} in {} ({})", root.display(), toolkit.named_by);
            return Err(unusable(found, install(package)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_header_is_named_with_its_package() {
        let said = |toolkit: Option<&Toolkit>| headers(toolkit).unwrap_err().to_string();
        assert!(said(None).contains("/usr/local/cuda"));
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let toolkit = Toolkit { named_by: "CUDA_HOME", home: home.into() };
        for (header, below, package) in HEADERS {
            let text = said(Some(&toolkit));
            assert!(text.contains(header) && text.contains(package) && text.contains("(CUDA_HOME)"), "{text}");
            let path = home.join("targets/sbsa-linux/include").join(below[0]).join(header);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        assert!(headers(Some(&toolkit)).is_ok());
    }
}
