//! Devices by name, with no silent fallback.

use candle_core::Device;

#[doc(hidden)]
pub use waxwork_kernels::device::without_kernels;
pub use waxwork_kernels::device::{cpu_class, runs_on_cpu_kernels};

use crate::{Error, Result};

/// The device called `cpu`, `cuda`, `cuda:N` or `metal`.
///
/// # Errors
/// If the name is unknown, the build lacks the feature, or the hardware is missing. Never falls back to the
/// CPU.
pub fn open(name: &str) -> Result<Device> {
    let fail = |reason: String| Error::Device { name: name.to_owned(), reason };
    let (kind, ordinal) = match name.split_once(':') {
        Some((kind, ordinal)) => {
            let ordinal = ordinal.parse().map_err(|_| fail(format!("`{ordinal}` is not a device number")))?;
            (kind, ordinal)
        }
        None => (name, 0),
    };
    match kind {
        "cpu" if ordinal == 0 => Ok(Device::Cpu),
        "cuda" if !cfg!(feature = "cuda") => {
            Err(fail("this build has no CUDA support; build with `--features cuda`".into()))
        }
        "metal" if !cfg!(feature = "metal") => {
            Err(fail("this build has no Metal support; build with `--features metal`".into()))
        }
        "cuda" => Device::new_cuda(ordinal).map_err(|error| {
            fail(format!("{}; `nvidia-smi` shows which GPUs there are, and their driver", cause(&error)))
        }),
        "metal" => Device::new_metal(ordinal).map_err(|error| fail(cause(&error))),
        _ => Err(fail("choose one of cpu, cuda, cuda:N, metal".into())),
    }
}

/// candle's message about a device, without the backtrace that it may append.
fn cause(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().trim().to_owned()
}

/// The name that [`open`] takes for this device.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { .. } => "metal".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_one_line() {
        let error = candle_core::Error::Msg("no device".into()).bt();
        assert_eq!(cause(&error), "no device");
        assert_eq!(cause(&candle_core::Error::Msg("no device\n   0: a::trace".into())), "no device");
    }

    #[test]
    fn names_are_explicit() {
        assert_eq!(name(&open("cpu").unwrap()), "cpu");
        for wrong in ["gpu", "cuda:x", "cpu:3", ""] {
            assert!(matches!(open(wrong), Err(Error::Device { .. })), "{wrong}");
        }
    }
}
