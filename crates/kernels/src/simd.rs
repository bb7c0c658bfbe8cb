//! The instruction set that kernels use: the best one of this CPU. Tests can select any other.

/// Runs `f`, compiled for the best instruction set of this CPU. `f` must be `#[inline(always)]`.
#[inline(always)]
pub(crate) fn simd<R>(f: impl FnOnce() -> R) -> R {
    arch().dispatch(f)
}

/// a·b + c in one rounding. Browsers have no such instruction, and emulating it takes fifty times as long, so there
/// the product is rounded too.
#[inline(always)]
pub(crate) fn mul_add<S: pulp::Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    if cfg!(target_family = "wasm") {
        simd.add_f32s(simd.mul_f32s(a, b), c)
    } else {
        simd.mul_add_f32s(a, b, c)
    }
}

/// The best instruction set of this CPU.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn arch() -> pulp::Arch {
    pulp::Arch::new()
}

#[cfg(test)]
pub(crate) use forced::{arch, on_every_instruction_set};

#[cfg(test)]
mod forced {
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Number of the entry of [`instruction_sets`] that the kernels use, counted from 1; 0 selects the best.
    /// This is a static because kernels run on other threads too. A concurrent test that sees the change must
    /// get the same bits anyway.
    static FORCED: AtomicUsize = AtomicUsize::new(0);

    /// Replaces `pulp::Arch::new` in tests.
    pub(crate) fn arch() -> pulp::Arch {
        match FORCED.load(Ordering::Relaxed) {
            0 => pulp::Arch::new(),
            place => instruction_sets()[place - 1],
        }
    }

    /// The instruction sets that kernels are compiled for and that this machine has.
    fn instruction_sets() -> Vec<pulp::Arch> {
        let mut all = vec![pulp::Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
            all.extend(pulp::x86::V4::try_new().map(pulp::Arch::V4));
        }
        all.push(pulp::Arch::new());
        all
    }

    /// Asserts that `run` gives the same result with every instruction set.
    pub(crate) fn on_every_instruction_set<R: PartialEq>(run: impl Fn() -> R) {
        let want = run();
        for (place, name) in instruction_sets().iter().enumerate() {
            FORCED.store(place + 1, Ordering::Relaxed);
            let same = run() == want;
            FORCED.store(0, Ordering::Relaxed);
            assert!(same, "{name:?} gives different bits");
        }
    }
}
