//! The instruction set that kernels run with: the best of this CPU, and in tests each that it has.

/// Runs `f` compiled for the best instruction set of this CPU. `f` must inline: `#[inline(always)]`.
#[inline(always)]
pub(crate) fn simd<R>(f: impl FnOnce() -> R) -> R {
    arch().dispatch(f)
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

    /// Which of [`instruction_sets`] the kernels use, counted from 1; 0: the best. A static, since they run on other threads
    /// too; a test beside this one that sees the change gets the same bits, or should fail.
    static FORCED: AtomicUsize = AtomicUsize::new(0);

    /// What stands for `pulp::Arch::new` in tests.
    pub(crate) fn arch() -> pulp::Arch {
        match FORCED.load(Ordering::Relaxed) {
            0 => pulp::Arch::new(),
            place => instruction_sets()[place - 1],
        }
    }

    /// The instruction sets that this machine has and kernels are compiled for.
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

    /// Asserts that `run` gives the same with every instruction set.
    pub(crate) fn on_every_instruction_set<R: PartialEq>(run: impl Fn() -> R) {
        let want = run();
        for (place, name) in instruction_sets().iter().enumerate() {
            FORCED.store(place + 1, Ordering::Relaxed);
            let same = run() == want;
            FORCED.store(0, Ordering::Relaxed);
            assert!(same, "{name:?} gives other bits");
        }
    }
}
