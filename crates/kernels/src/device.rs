//! Which devices the kernels run on, and a way to test the code for other devices on the CPU.

use std::cell::Cell;

use candle_core::Device;

thread_local! {
    static COMPOSED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the kernels of this crate compute for this device, which is true for the CPU. On any other device,
/// functions use candle's operations, and may return before a result is computed.
pub fn runs_on_cpu_kernels(device: &Device) -> bool {
    device.is_cpu() && !COMPOSED.get()
}

/// Runs `f` as if this thread's CPU tensors were on another device, so that a machine without one can test
/// what would run there. Slow; for tests only.
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

/// The class of this processor. Machines of the same class give the same bits. `x86-64-v3` has AVX2 and FMA,
/// with or without newer instructions; `x86-64` lacks FMA; other architectures have their usual names.
pub fn cpu_class() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    return if pulp::x86::V3::try_new().is_some() { "x86-64-v3" } else { "x86-64" };
    #[cfg(not(target_arch = "x86_64"))]
    std::env::consts::ARCH
}
