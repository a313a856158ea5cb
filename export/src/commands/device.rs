use clap::{Args, ValueEnum};
use edge_seg_model::Options;
use edge_seg_model::device::{Device, OnFallback};

/// Where the image encoder runs.
#[derive(Args)]
pub struct DeviceArgs {
    /// Where the image encoder runs; `auto` says what it chose, and why.
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceName,
    /// On a GPU, compute in 16-bit floats: faster, and a little less exact.
    #[arg(long)]
    half: bool,
    /// When the GPU fails in the middle of its work, go on with the processor in place of stopping.
    #[arg(long)]
    device_fallback: bool,
    /// On a GPU, pictures that are encoded at once [default: 8].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeviceName {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU, or an error that says what is missing.
    Cuda,
    /// An NVIDIA GPU where one can be used, otherwise the processor.
    Auto,
}

impl DeviceArgs {
    /// Options of a session with one thread: whole pictures side by side use the cores better.
    pub fn options(&self, size_px: Option<usize>) -> Options {
        let tell = |error: &edge_seg_model::Error| eprintln!("{error}; from here on the processor does its work");
        Options::default()
            .with_size_px(size_px)
            .with_threads(1)
            .with_device(self.device.into())
            .with_half(self.half)
            .with_on_fallback(self.device_fallback.then(|| OnFallback::new(tell)))
            .with_batch(self.batch.or((self.device != DeviceName::Cpu).then_some(Options::BATCH)))
    }

    /// As [`Self::options`], for frames that come one after the other.
    pub fn options_for_frames(&self, size_px: Option<usize>) -> anyhow::Result<Options> {
        anyhow::ensure!(self.batch.is_none(), "--batch does not apply to video: frames are encoded one after the other");
        Ok(self.options(size_px).with_threads(None).with_batch(None))
    }

    /// Says what `auto` chooses. The answer names a device whose numbers differ, for records of them: none for the processor.
    pub fn announce(&self) -> edge_seg_model::Result<Option<String>> {
        let chosen = edge_seg_model::choose_device(self.device.into())?;
        if self.device == DeviceName::Auto {
            eprintln!("--device auto chose {}: {}", chosen.device, chosen.why);
        }
        let half = if self.half { " in 16-bit floats" } else { "" };
        Ok((chosen.device != Device::Cpu).then(|| format!("{}{half}", chosen.device)))
    }
}

impl From<DeviceName> for Device {
    fn from(name: DeviceName) -> Self {
        match name {
            DeviceName::Cpu => Device::Cpu,
            DeviceName::Cuda => Device::Cuda,
            DeviceName::Auto => Device::Auto,
        }
    }
}
