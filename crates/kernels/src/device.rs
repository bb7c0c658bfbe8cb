//! Which devices the kernels compute for, and how a test sees what the others get.

use std::cell::Cell;

use candle_core::Device;

thread_local! {
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// True if our own kernels compute for this device, which they do on the CPU. On any other device every operation is
/// composed of candle's own, and its result may still be on its way.
pub fn runs_on_cpu_kernels(device: &Device) -> bool {
    device.is_cpu() && !COMPOSED.get()
}

/// Runs `f` with this thread's CPU tensors treated as those of another device, so that a machine without one can test
/// what would run there. Slow, and for tests alone.
#[doc(hidden)]
pub fn without_kernels<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            COMPOSED.set(self.0);
        }
    }
    let _restore = Restore(COMPOSED.replace(true));
    f()
}

/// The class of this processor: machines of one class give the same bits. `x86-64-v3` has AVX2 and FMA, with or without
/// newer instructions; `x86-64` lacks FMA; other architectures have their own names.
pub fn cpu_class() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    return if pulp::x86::V3::try_new().is_some() { "x86-64-v3" } else { "x86-64" };
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH
}
