//! Work that several processes divide into parts. One process does each part, and all processes get the
//! results in order.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::collective::Collective;
use crate::{Error, Result, store};

/// A result that reaches another process without losing a bit.
pub trait Portable: Sized {
    /// Its bytes.
    ///
    /// # Errors
    /// If a tensor cannot be copied to the host.
    fn pack(&self) -> Result<Vec<u8>>;

    /// The result whose bytes these are. Tensors are on the CPU.
    ///
    /// # Errors
    /// If the bytes are not those of such a result.
    fn unpack(bytes: &[u8]) -> Result<Self>;
}

impl Portable for Vec<u8> {
    fn pack(&self) -> Result<Vec<u8>> {
        Ok(self.clone())
    }

    fn unpack(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }
}

impl Portable for Vec<f64> {
    fn pack(&self) -> Result<Vec<u8>> {
        Ok(self.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn unpack(bytes: &[u8]) -> Result<Self> {
        match bytes.as_chunks::<8>() {
            (values, []) => Ok(values.iter().map(|value| f64::from_le_bytes(*value)).collect()),
            _ => Err(unreadable()),
        }
    }
}

impl Portable for Tensor {
    fn pack(&self) -> Result<Vec<u8>> {
        store::encode(&BTreeMap::from([(NAME.to_owned(), self.clone())]))
    }

    fn unpack(bytes: &[u8]) -> Result<Self> {
        let mut tensors = store::decode(bytes, Path::new("another process's result"), &Device::Cpu)?;
        tensors.remove(NAME).ok_or_else(unreadable)
    }
}

impl<T: Portable> Portable for Option<T> {
    fn pack(&self) -> Result<Vec<u8>> {
        self.as_ref().map_or_else(|| Ok(Vec::new()), |value| Ok(tagged(value.pack()?, RESULT)))
    }

    fn unpack(bytes: &[u8]) -> Result<Self> {
        bytes.split_last().map(|(_, value)| T::unpack(value)).transpose()
    }
}

impl<A: Portable, B: Portable> Portable for (A, B) {
    fn pack(&self) -> Result<Vec<u8>> {
        let first = self.0.pack()?;
        let len = (first.len() as u64).to_le_bytes();
        Ok([&len[..], &first, &self.1.pack()?].concat())
    }

    fn unpack(bytes: &[u8]) -> Result<Self> {
        let (len, rest) = bytes.split_first_chunk::<8>().ok_or_else(unreadable)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let (first, second) = rest.split_at_checked(len).ok_or_else(unreadable)?;
        Ok((A::unpack(first)?, B::unpack(second)?))
    }
}

/// The name of a tensor on its way to another process.
const NAME: &str = "result";

/// The last byte of a message says what the bytes before it are.
const RESULT: u8 = 0;
const FAILURE: u8 = 1;

/// Does the parts 0, 1, … of shared work; the processes take them in turn. Every process gets the result of
/// every part, in order. With one process, this is a loop.
///
/// Each part must be the same computation on every process. Then the results have the same bits as on one
/// process.
///
/// # Errors
/// The error of the first part that failed. The process that reports, which is the first, gets that error if
/// it was its own; otherwise it is [`Error::Elsewhere`] with the same message.
pub fn share<T: Portable, W: Display, E: From<Error> + From<W>>(
    collective: &dyn Collective,
    parts: usize,
    mut work: impl FnMut(usize) -> Result<T, W>,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let (rank, size) = (collective.rank(), collective.size());
    if size == 1 {
        for part in 0..parts {
            take(work(part)?)?;
        }
        return Ok(());
    }
    for first in (0..parts).step_by(size) {
        let own = first + rank;
        let packed = if own < parts {
            let made = work(own).map_err(|error| (error.to_string(), E::from(error)));
            made.and_then(|made| made.pack().map_err(|error| (error.to_string(), E::from(error))))
        } else {
            Ok(Vec::new())
        };
        let (message, failure) = match packed {
            Ok(bytes) => (tagged(bytes, RESULT), None),
            Err((text, error)) => (tagged(text.into_bytes(), FAILURE), Some(error)),
        };
        let all = collective.gather(message)?;
        for (rank_of_it, message) in all.iter().enumerate().take(parts - first) {
            match message.split_last() {
                Some((&RESULT, bytes)) => take(T::unpack(bytes)?)?,
                Some((&FAILURE, text)) => {
                    return Err(match failure {
                        Some(error) if rank == 0 => error,
                        _ => elsewhere(rank_of_it, text).into(),
                    });
                }
                _ => return Err(unreadable().into()),
            }
        }
    }
    Ok(())
}

/// Computes a value on the first process alone, and sends it to all.
///
/// # Errors
/// That of the first process; the others get [`Error::Elsewhere`].
pub fn from_first<T: Portable, E: From<Error> + Display>(
    collective: &dyn Collective,
    make: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    if collective.size() == 1 {
        return make();
    }
    if collective.is_first() {
        let made = make().and_then(|made| Ok((made.pack()?, made)));
        let message = match &made {
            Ok((bytes, _)) => tagged(bytes.clone(), RESULT),
            Err(error) => tagged(error.to_string().into_bytes(), FAILURE),
        };
        collective.broadcast(message)?;
        return made.map(|(_, made)| made);
    }
    let message = collective.broadcast(Vec::new())?;
    match message.split_last() {
        Some((&RESULT, bytes)) => Ok(T::unpack(bytes)?),
        Some((&FAILURE, text)) => Err(elsewhere(0, text).into()),
        _ => Err(unreadable().into()),
    }
}

fn tagged(mut bytes: Vec<u8>, tag: u8) -> Vec<u8> {
    bytes.push(tag);
    bytes
}

fn elsewhere(rank: usize, text: &[u8]) -> Error {
    Error::Elsewhere { rank, message: String::from_utf8_lossy(text).into_owned() }
}

fn unreadable() -> Error {
    Error::Processes { reason: "a result of another process cannot be read".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::{OneProcess, Reduction};

    mod threads;
    use threads::on;

    type Part = ((Vec<f64>, Vec<u8>), Vec<f32>);

    fn all_of(collective: &dyn Collective, parts: usize) -> Result<(Vec<usize>, Vec<Part>)> {
        let (mut done, mut found) = (Vec::new(), Vec::new());
        let work = |part: usize| {
            done.push(part);
            let tensor = Tensor::new(vec![part as f32, f32::NAN, -0.0], &Device::Cpu)?;
            let numbers = vec![0.1 * part as f64; part];
            Ok::<_, Error>(((numbers, vec![7; part % 2]), tensor))
        };
        share(collective, parts, work, |(rest, tensor): ((Vec<f64>, Vec<u8>), Tensor)| -> Result<()> {
            found.push((rest, tensor.to_vec1::<f32>()?));
            Ok(())
        })?;
        Ok((done, found))
    }

    fn bits(parts: &[Part]) -> Vec<(Vec<u64>, Vec<u8>, Vec<u32>)> {
        let of = |((numbers, bytes), values): &Part| {
            let numbers = numbers.iter().map(|value| value.to_bits()).collect();
            (numbers, bytes.clone(), values.iter().map(|value| value.to_bits()).collect())
        };
        parts.iter().map(of).collect()
    }

    #[test]
    fn every_process_gets_all_results_in_order_and_does_its_share() {
        for parts in [0, 1, 5, 8] {
            let (done, expected) = all_of(&OneProcess, parts).unwrap();
            assert_eq!(done, (0..parts).collect::<Vec<_>>());
            for size in [2, 3, 4] {
                let found = on(size, |collective| all_of(collective, parts).unwrap());
                for (rank, (done, found)) in found.iter().enumerate() {
                    assert_eq!(*done, (rank..parts).step_by(size).collect::<Vec<_>>());
                    assert_eq!(bits(found), bits(&expected), "{parts} parts, {size} processes");
                }
            }
        }
    }

    #[test]
    fn all_processes_fail_with_the_first_part_that_fails() {
        let work = |part: usize| -> Result<Vec<u8>> {
            let reason = format!("part {part}");
            if [2, 3].contains(&part) { Err(Error::Processes { reason }) } else { Ok(Vec::new()) }
        };
        for size in [1, 2, 4] {
            for error in
                on(size, |collective| share(collective, 6, work, |_| Ok::<_, Error>(())).unwrap_err())
            {
                assert_eq!(error.to_string(), "part 2");
            }
        }
        let ranks =
            on(4, |collective| match share(collective, 6, work, |_| Ok::<_, Error>(())).unwrap_err() {
                Error::Elsewhere { rank, .. } => rank,
                _ => usize::MAX,
            });
        assert_eq!(ranks, [2; 4]);
    }

    #[test]
    fn only_the_first_process_makes_what_all_get() {
        let found = on(4, |collective| {
            let mut made = false;
            let given = from_first(collective, || {
                made = true;
                Ok::<_, Error>(vec![1.5])
            });
            (made, given.unwrap())
        });
        assert_eq!(found.iter().map(|(made, _)| *made).collect::<Vec<_>>(), [true, false, false, false]);
        assert!(found.iter().all(|(_, given)| *given == [1.5]));
        for there in [None, Some(vec![2.5]), Some(Vec::new())] {
            let given = on(2, |collective| from_first(collective, || Ok::<_, Error>(there.clone())).unwrap());
            assert_eq!(given, [there.clone(), there]);
        }
        let failed = |collective: &dyn Collective| {
            let reason = "no room".to_owned();
            from_first::<Vec<u8>, Error>(collective, || Err(Error::Processes { reason })).unwrap_err()
        };
        for error in on(2, failed) {
            assert_eq!(error.to_string(), "no room");
        }
    }
}
