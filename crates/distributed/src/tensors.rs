//! The sum of `tree.rs` for tensors that stay on their device.

use candle_core::{Result, Tensor};

use crate::tree::distances;

/// How a process exchanges tensors with another one.
pub(crate) trait TensorPairs {
    fn rank(&self) -> usize;

    /// The number of processes, a power of two.
    fn size(&self) -> usize;

    /// Sends a tensor to a process. Returns the tensor of the same shape that this process sends.
    fn exchange(&self, peer: usize, sent: &Tensor) -> Result<Tensor>;
}

/// Adds the vectors `(N)` of all processes. Every element has the bits that `tree::reduce` gives it.
pub(crate) fn sum(pairs: &impl TensorPairs, values: &Tensor) -> Result<Tensor> {
    let (rank, size, len) = (pairs.rank(), pairs.size(), values.dim(0)?);
    // With this padding, both halves of the vector are equal, however often it is halved.
    let mut kept = values.pad_with_zeros(0, 0, len.next_multiple_of(size) - len)?;
    for distance in distances(size) {
        let half = kept.dim(0)? / 2;
        let (low, high) = (kept.narrow(0, 0, half)?, kept.narrow(0, half, half)?);
        let (mine, theirs) = if rank & distance == 0 { (low, high) } else { (high, low) };
        kept = (mine + pairs.exchange(rank ^ distance, &theirs)?)?;
    }
    for distance in distances(size).rev() {
        let received = pairs.exchange(rank ^ distance, &kept)?;
        let halves = if rank & distance == 0 { [&kept, &received] } else { [&received, &kept] };
        kept = Tensor::cat(&halves, 0)?;
    }
    kept.narrow(0, 0, len)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::tree::tests::{Threads, on};
    use crate::tree::{Element, Pairs, reduce};

    /// Tensors on the CPU, exchanged as bytes.
    impl TensorPairs for Threads {
        fn rank(&self) -> usize {
            Pairs::rank(self)
        }

        fn size(&self) -> usize {
            Pairs::size(self)
        }

        fn exchange(&self, peer: usize, sent: &Tensor) -> Result<Tensor> {
            let sent = sent.to_vec1::<f32>()?;
            let mut received = vec![0f32; sent.len()];
            let into = bytemuck::cast_slice_mut(&mut received);
            Pairs::exchange(self, peer, bytemuck::cast_slice(&sent), into)
                .map_err(candle_core::Error::msg)?;
            Tensor::from_vec(received, sent.len(), &Device::Cpu)
        }
    }

    #[test]
    fn the_sum_of_tensors_has_the_bits_of_the_sum_in_host_memory() {
        let value =
            |rank: usize, place: usize| 0.1f32 * (rank * 7 + place + 1) as f32 * 10f32.powi(rank as i32);
        for len in [1, 2, 3, 7, 8, 31] {
            for size in [1, 2, 4, 8] {
                let of_processes = on(size, |process| {
                    let mut host: Vec<f32> =
                        (0..len).map(|place| value(Pairs::rank(process), place)).collect();
                    let vector = Tensor::new(host.clone(), &Device::Cpu).unwrap();
                    let summed = sum(process, &vector).unwrap().to_vec1::<f32>().unwrap();
                    reduce(process, &mut host, Element::add).unwrap();
                    [summed, host]
                        .map(|values| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>())
                });
                for [tensor, host] in of_processes {
                    assert_eq!(tensor, host, "{size} processes, {len} values");
                }
            }
        }
    }
}
