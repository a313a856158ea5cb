use crate::device::DeviceFault;
use crate::{Error, Result};

/// Runs `work`; a panic in it becomes its message, since the binding panics where it could answer.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    crate::contained::contained(work).map_err(|text| one_line(&text))
}

/// What a failing device's message means; none if it is not the device that failed.
pub(super) fn judge(found: &str) -> Option<Error> {
    let has = |marks: &[&str]| marks.iter().any(|mark| found.contains(mark));
    let error = |fault, fix: &str| Some(Error::Device { device: "cuda", fault, found: one_line(found), fix: fix.into() });
    if has(&["OUT_OF_MEMORY", "ALLOC_FAILED", "cudaErrorMemoryAllocation"]) {
        return error(
            DeviceFault::Memory,
            "end other programs that use the GPU (nvidia-smi, or tegrastats on a Jetson), or take a smaller size_px",
        );
    }
    if has(&["Missing symbol"]) {
        return error(DeviceFault::Unusable, &fix_for(found));
    }
    if has(&["CUDA_ERROR_", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cudaError", "CUDA context", "Cuda Stream"]) {
        return error(DeviceFault::Lost, "read dmesg for NVRM or Xid lines, then start the program again");
    }
    None
}

/// What mends a GPU that the engine refuses, by the first thing that it misses.
pub(super) fn fix_for(found: &str) -> String {
    let cures = [
        (
            "driver library not found",
            "install NVIDIA's driver (on a Jetson: nvidia-l4t-cuda, part of JetPack); in a container, start it with --gpus all or --runtime nvidia",
        ),
        ("driver too old", "install a newer driver or JetPack, or a build of this program for the CUDA release that the driver has"),
        (
            "cuInit returned",
            "check that nvidia-smi (on a Jetson: /dev/nvhost-gpu) shows a GPU to this user; on a Jetson, add the user to group video",
        ),
        ("DEVICE_UNAVAILABLE", "another program holds the GPU for itself alone: end it, or let several use it (nvidia-smi -c DEFAULT)"),
        ("OUT_OF_MEMORY", "end other programs that use the GPU (nvidia-smi, or tegrastats on a Jetson)"),
        ("NVRTC compilation failed", "install the headers and libnvrtc of one release of CUDA"),
        ("Failed to create /", "let XDG_CACHE_HOME name a folder that can be written, for compiled kernels"),
        ("Failed to write", "let XDG_CACHE_HOME name a folder that can be written and has capacity, for compiled kernels"),
        ("cudart", "install libcudart (package cuda-cudart-N-M)"),
        ("nvrtc", "install libnvrtc (package cuda-nvrtc-N-M)"),
        ("cublas", "install libcublas (package libcublas-N-M)"),
        ("cudnn", "install cuDNN 9 (package libcudnn9-cuda-N)"),
    ];
    cures.iter().find(|(mark, _)| found.contains(mark)).map_or("reinstall NVIDIA's driver and CUDA libraries", |(_, cure)| cure).into()
}

/// What was said, without the engine's own line breaks and backtraces.
pub(super) fn one_line(text: &str) -> String {
    let said = text.split_once("Stack backtrace:").map_or(text, |(said, _)| said);
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}
