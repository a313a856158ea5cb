//! What happens when a GPU fails in the middle of its work.

use std::sync::OnceLock;

use super::backend::{Encoder, MaskRequest, Masks, Stop};
use crate::device::{DeviceFault, OnFallback};
use crate::input::Input;
use crate::{Error, PatchGrid, Result};

/// Loads the encoder that takes over.
pub(crate) type FallbackLoader = Box<dyn Fn() -> Result<Box<dyn Encoder>> + Send + Sync>;

/// A GPU's encoder, and perhaps the processor's, which takes over for good when the GPU fails. A shortage of memory is met once by
/// giving back what is kept for speed; a device that failed is not asked again where another can take over.
pub(crate) struct FallbackEncoder {
    gpu: Box<dyn Encoder>,
    spare: Option<(FallbackLoader, OnFallback)>,
    taken_over: OnceLock<Box<dyn Encoder>>,
}

impl std::fmt::Debug for FallbackEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FallbackEncoder").field("gpu", &self.gpu).field("taken_over", &self.taken_over).finish_non_exhaustive()
    }
}

impl FallbackEncoder {
    pub(crate) fn new(gpu: Box<dyn Encoder>, spare: Option<(FallbackLoader, OnFallback)>) -> Self {
        Self { gpu, spare, taken_over: OnceLock::new() }
    }

    fn with<T>(&self, work: impl Fn(&dyn Encoder) -> Result<T>) -> Result<T> {
        if let Some(spare) = self.taken_over.get() {
            return work(&**spare);
        }
        let mut outcome = work(&*self.gpu);
        if matches!(outcome, Err(Error::Device { fault: DeviceFault::Memory, .. })) {
            self.gpu.release();
            outcome = work(&*self.gpu);
        }
        match (outcome, &self.spare) {
            (Err(error @ Error::Device { .. }), Some((spare, on_fallback))) => {
                // Of several threads that meet the failure, one tells it.
                if self.taken_over.set(spare()?).is_ok() {
                    on_fallback.tell(&error);
                }
                self.taken_over.get().map_or(Err(error), |spare| work(&**spare))
            }
            (outcome, _) => outcome,
        }
    }
}

impl Encoder for FallbackEncoder {
    fn backend(&self) -> &'static str {
        self.taken_over.get().unwrap_or(&self.gpu).backend()
    }

    fn plan_for(&self, input: &Input, capacity: usize) -> Result<()> {
        self.with(|encoder| encoder.plan_for(input, capacity))
    }

    fn encode(&self, input: &Input) -> Result<PatchGrid> {
        self.with(|encoder| encoder.encode(input))
    }

    fn encode_until(&self, input: &Input, stop: Stop<'_>) -> Result<Option<PatchGrid>> {
        self.with(|encoder| encoder.encode_until(input, stop))
    }

    fn masks(&self, input: &Input, request: &MaskRequest<'_>) -> Result<Option<Masks>> {
        self.with(|encoder| encoder.masks(input, request))
    }

    fn unsupported_ops(&self) -> Vec<String> {
        self.taken_over.get().unwrap_or(&self.gpu).unsupported_ops()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Placement;
    use parking_lot::Mutex;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Fails in the given ways, one after the other, and then works.
    #[derive(Debug, Default)]
    struct Injected {
        name: &'static str,
        faults: Mutex<Vec<DeviceFault>>,
        asked: AtomicUsize,
        released: AtomicUsize,
    }

    impl Encoder for Arc<Injected> {
        fn backend(&self) -> &'static str {
            self.name
        }

        fn plan_for(&self, _: &Input, _: usize) -> Result<()> {
            Ok(())
        }

        fn encode(&self, _: &Input) -> Result<PatchGrid> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match self.faults.lock().pop() {
                Some(fault) => Err(Error::Device { device: "cuda", fault, found: "injected".into(), fix: "nothing".into() }),
                None => PatchGrid::new(1, 1, 2, vec![1.0, 0.0], vec![0.0, 1.0]),
            }
        }

        fn release(&self) {
            self.released.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Setup {
        guarded: FallbackEncoder,
        gpu: Arc<Injected>,
        cpu: Arc<Injected>,
        told: Arc<Mutex<Vec<String>>>,
    }

    fn setup(faults: &[DeviceFault], may_fall_back: bool) -> Setup {
        let injected =
            |name, faults: &[DeviceFault]| Arc::new(Injected { name, faults: Mutex::new(faults.to_vec()), ..Injected::default() });
        let (gpu, cpu, told) = (injected("gpu", faults), injected("cpu", &[]), Arc::new(Mutex::new(Vec::new())));
        let (spare, hears) = (cpu.clone(), told.clone());
        let spare: FallbackLoader = Box::new(move || Ok(Box::new(spare.clone())));
        let on_fallback = OnFallback::new(move |error| hears.lock().push(error.to_string()));
        Setup { guarded: FallbackEncoder::new(Box::new(gpu.clone()), may_fall_back.then_some((spare, on_fallback))), gpu, cpu, told }
    }

    fn input() -> Input {
        let placement = Placement { frame_px: (16, 16), scaled_px: (16, 16), input_px: (16, 16), patch_px: 16 };
        Input { pixels: vec![0.0; 3 * 256], placement }
    }

    fn count(of: &AtomicUsize) -> usize {
        of.load(Ordering::Relaxed)
    }

    #[test]
    fn a_shortage_of_memory_is_met_once_by_giving_memory_back() {
        let Setup { guarded, gpu, cpu, told } = setup(&[DeviceFault::Memory], true);
        guarded.encode(&input()).unwrap();
        assert_eq!((count(&gpu.asked), count(&gpu.released), count(&cpu.asked)), (2, 1, 0));
        assert_eq!((guarded.backend(), told.lock().len()), ("gpu", 0));
    }

    #[test]
    fn the_processor_takes_over_for_good_and_it_is_told_once() {
        for faults in [vec![DeviceFault::Lost], vec![DeviceFault::Memory, DeviceFault::Memory]] {
            let Setup { guarded, gpu, cpu, told } = setup(&faults, true);
            for _ in 0..3 {
                guarded.encode(&input()).unwrap();
            }
            assert_eq!((count(&gpu.asked), count(&cpu.asked), guarded.backend()), (faults.len(), 3, "cpu"));
            let told = told.lock();
            assert!(told.len() == 1 && told[0].contains("injected") && told[0].contains("try:"), "{told:?}");
        }
    }

    #[test]
    fn without_leave_to_fall_back_the_failure_is_an_error() {
        let Setup { guarded, cpu, .. } = setup(&[DeviceFault::Lost], false);
        let error = guarded.encode(&input()).unwrap_err().to_string();
        assert!(error.contains("cuda was lost: injected"), "{error}");
        assert_eq!((count(&cpu.asked), guarded.backend()), (0, "gpu"));
    }

    #[test]
    fn threads_that_meet_one_failure_all_get_their_pictures() {
        let Setup { guarded, cpu, told, .. } = setup(&[DeviceFault::Lost; 8], true);
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| guarded.encode(&input()).unwrap()))));
        assert_eq!((count(&cpu.asked), told.lock().len()), (8, 1));
    }
}
