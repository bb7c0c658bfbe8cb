//! The training sample nearest to a generated one: a test for memorised training samples.

use waxwork_core::{Batch, Result, Tensor};
use waxwork_kernels as kernels;
use waxwork_nn::tokens;

/// A training sample near a generated one.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Its index in the training split.
    pub index: u64,
    /// Root mean square of the differences, in the values that networks see; for texts, in one-hot rows.
    pub distance: f64,
    /// These values; `(C, H, W)` in [0, 1] for images.
    pub sample: Tensor,
}

/// Returns the nearest real sample to each generated one, `(N, ..)`; the first of several at the same
/// distance. `progress` gets the number of real samples done.
///
/// # Errors
/// If a batch cannot be read or has another shape, or there are no images.
pub fn nearest<E: From<waxwork_core::Error>>(
    generated: &Tensor,
    real: impl IntoIterator<Item = Result<Batch, E>>,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Neighbour>, E> {
    let flat = generated.flatten_from(1).map_err(waxwork_core::Error::from)?;
    let mut found: Vec<Neighbour> = Vec::new();
    let mut done = 0;
    for batch in real {
        let batch = batch?;
        // Texts are numbers in a batch, and rows if they are generated.
        let vocabulary = generated.dims().last().copied().unwrap_or_default();
        let real = tokens::one_hot(&batch.inputs, vocabulary, generated.dtype())?;
        let squares = squared_distances(&flat, &real)?;
        for (i, squares) in squares.iter().enumerate() {
            let least = squares.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
            let Some((place, &square)) = least else { continue };
            let values = real.elem_count() / batch.len();
            let distance = (f64::from(square.max(0.0)) / values as f64).sqrt();
            if found.get(i).is_some_and(|best| best.distance <= distance) {
                continue;
            }
            let sample = real.get(place).map_err(waxwork_core::Error::from)?;
            let neighbour = Neighbour { index: batch.indices[place], distance, sample };
            match found.get_mut(i) {
                Some(best) => *best = neighbour,
                None => found.push(neighbour),
            }
        }
        done += batch.len();
        progress(done);
    }
    if found.is_empty() {
        return Err(
            waxwork_core::Error::Empty { what: "a search for nearest neighbours", of: "sample" }.into()
        );
    }
    Ok(found)
}

/// As [`nearest`], but each generated sample `(1, rows, columns)` may be shifted by up to `shift` columns to
/// either side to minimise the distance, with its edge column repeated. A sound that begins slightly later is
/// the same sound.
///
/// # Errors
/// As [`nearest`].
pub fn nearest_shifted<E: From<waxwork_core::Error>>(
    generated: &Tensor,
    shift: usize,
    real: impl IntoIterator<Item = Result<Batch, E>>,
    progress: impl FnMut(usize),
) -> Result<Vec<Neighbour>, E> {
    let (count, all) = (generated.dims().first().copied().unwrap_or_default(), shifted(generated, shift)?);
    let mut found = nearest(&all, real, progress)?;
    // The unshifted samples come first.
    let rest = found.split_off(count.min(found.len()));
    for (place, other) in rest.into_iter().enumerate() {
        if let Some(best) = found.get_mut(place % count.max(1)).filter(|best| other.distance < best.distance)
        {
            *best = other;
        }
    }
    Ok(found)
}

/// Returns samples `(N, .., columns)` unshifted, then all of them shifted by one column, by two …, to the
/// right and to the left.
fn shifted(samples: &Tensor, shift: usize) -> Result<Tensor> {
    let last = samples.rank() - 1;
    let columns = samples.dim(last)?;
    let mut all = vec![samples.clone()];
    for by in 1..=shift.min(columns.saturating_sub(1)) {
        let rest = columns - by;
        let (first, end) = (samples.narrow(last, 0, 1)?, samples.narrow(last, columns - 1, 1)?);
        let mut later = vec![first; by];
        later.push(samples.narrow(last, 0, rest)?);
        let mut earlier = vec![samples.narrow(last, by, rest)?];
        earlier.extend(vec![end; by]);
        all.push(Tensor::cat(&later, last)?);
        all.push(Tensor::cat(&earlier, last)?);
    }
    Ok(Tensor::cat(&all, 0)?)
}

/// Returns ‖a − b‖² of every pair, as ‖a‖² − 2 a·b + ‖b‖².
fn squared_distances(generated: &Tensor, real: &Tensor) -> Result<Vec<Vec<f32>>> {
    let real = real.flatten_from(1)?;
    let products = kernels::matmul(generated, &real.t()?)?.affine(-2.0, 0.0)?;
    let a = generated.sqr()?.sum_keepdim(1)?;
    let b = real.sqr()?.sum_keepdim(1)?.t()?;
    Ok(products.broadcast_add(&a)?.broadcast_add(&b)?.to_vec2::<f32>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use waxwork_core::Device;

    #[test]
    fn a_copy_that_begins_later_is_found() {
        let sound =
            |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap().reshape(((), 1, 2, 4)).unwrap();
        let real = sound(&[0.0, 0.1, 0.9, 0.0, 0.0, 0.5, 0.3, 0.0]);
        let later = sound(&[0.0, 0.0, 0.1, 0.9, 0.0, 0.0, 0.5, 0.3]);
        let batch = || [Ok::<_, waxwork_core::Error>(Batch::unlabelled(real.clone(), vec![7]))];
        let far = nearest(&later, batch(), |_| {}).unwrap()[0].distance;
        let found = nearest_shifted(&later, 1, batch(), |_| {}).unwrap();
        assert_eq!((found.len(), found[0].index), (1, 7));
        // After the shift, its repeated last column lies where the real sound is silent.
        let repeated = ((0.9f64.powi(2) + 0.3f64.powi(2)) / 8.0).sqrt();
        assert!(
            (found[0].distance - repeated).abs() < 1e-6 && repeated < far,
            "{} of {far}",
            found[0].distance
        );
        assert_eq!(nearest_shifted(&later, 0, batch(), |_| {}).unwrap()[0].distance, far);
        assert_eq!(nearest_shifted(&real, 2, batch(), |_| {}).unwrap()[0].distance, 0.0);
    }

    #[test]
    fn finds_copies_at_distance_zero() {
        let images =
            |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap().reshape(((), 1, 1, 2)).unwrap();
        let batch = |values: &[f32], first: u64| {
            let images = images(values);
            let indices = (first..first + images.dim(0).unwrap() as u64).collect();
            Ok::<_, waxwork_core::Error>(Batch::unlabelled(images, indices))
        };
        let real = [batch(&[0.0, 0.0, 1.0, 0.5], 0), batch(&[0.25, 0.75, 1.0, 0.5], 2)];
        let found = nearest(&images(&[1.0, 0.5, 0.25, 0.25]), real, |_| {}).unwrap();
        assert_eq!((found[0].index, found[0].distance), (1, 0.0));
        assert_eq!(found[1].index, 0);
        assert!((found[1].distance - 0.25).abs() < 1e-6);
        assert_eq!(found[1].sample.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn texts_are_compared_as_one_hot_rows() {
        let numbers = Tensor::new(&[[1u32, 2], [2, 0]], &Device::Cpu).unwrap();
        let generated = Tensor::new(&[[[0f32, 0.0, 1.0], [0.0, 1.0, 0.0]]], &Device::Cpu).unwrap();
        let real = [Ok::<_, waxwork_core::Error>(Batch::unlabelled(numbers, vec![4, 5]))];
        let found = &nearest(&generated, real, |_| {}).unwrap()[0];
        // One of two tokens differs: two of six values.
        assert_eq!(found.index, 5);
        assert!((found.distance - (2.0f64 / 6.0).sqrt()).abs() < 1e-6, "{}", found.distance);
        assert_eq!(found.sample.to_vec2::<f32>().unwrap(), [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]);
    }
}
