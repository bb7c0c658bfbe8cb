//! The prior over a map of codes: p(c | y) = Π p(cₜ | c₁ … cₜ₋₁, y), row by row of the map.
//!
//! A recurrent layer summarises the previous codes. Every step also sees the neighbouring codes that are
//! already known, to the left and above, because in raster order the code above is a whole row of steps
//! away. The last code of a row enters the layer only as a neighbour, near the end of the next row.

use candle_core::{DType, Device, Tensor};

use waxwork_core::params::Scope;
use waxwork_core::{Mode, Result};
use waxwork_kernels::{self as kernels, Activation};
use waxwork_nn::layers::{Embedding, Linear, Recurrent, WeightInit};
use waxwork_nn::rows::repeat_rows;

use crate::config::CodePriorSizes;

/// The offsets of the known neighbours of a code, in rows and columns: left, above left, above, above right.
const NEIGHBOURS: [(isize, isize); 4] = [(0, -1), (-1, -1), (-1, 0), (-1, 1)];

/// An autoregressive distribution over maps of codes, which depends on the label if the model is conditional.
#[derive(Clone, Debug)]
pub(crate) struct CodePrior {
    /// One row per code, and one for a neighbour outside of the map.
    embedding: Embedding,
    /// One row per place of the map.
    place: Embedding,
    recurrent: Recurrent,
    output: Linear,
    /// Number of codes.
    codes: usize,
    /// For each neighbour, its place in the map, by the place of the code; outside of the map, the number of
    /// places.
    neighbours: Vec<Vec<u32>>,
}

impl CodePrior {
    /// The prior over maps of `height` × `width` codes with `codes` possible values, given `given` values of
    /// a condition. Its weights are `embedding`, `place`, `recurrent` and `output` of `scope`.
    ///
    /// # Errors
    /// If the set is stored and lacks a tensor or has one of another shape.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        (height, width): (usize, usize),
        codes: usize,
        given: usize,
        CodePriorSizes { embedding, hidden, cell }: CodePriorSizes,
        init: WeightInit,
    ) -> Result<Self> {
        let inputs = (NEIGHBOURS.len() + 1) * embedding + given;
        Ok(Self {
            embedding: Embedding::new(scope.enter("embedding"), codes + 1, embedding, init)?,
            place: Embedding::new(scope.enter("place"), height * width, embedding, init)?,
            recurrent: Recurrent::new(scope.enter("recurrent"), cell, inputs, hidden, init)?,
            output: Linear::new(scope.enter("output"), hidden, codes, init)?,
            codes,
            neighbours: NEIGHBOURS.map(|step| neighbours((height, width), step)).to_vec(),
        })
    }

    /// Number of codes of a map.
    pub(crate) fn places(&self) -> usize {
        self.neighbours.first().map_or(0, Vec::len)
    }

    /// log p(c | y) in nats, `(N)`, of maps of codes `(N, places)` u32 and conditions `(N, given)`.
    pub(crate) fn log_likelihood(
        &self,
        codes: &Tensor,
        labels: Option<&Tensor>,
        mode: Mode<'_>,
    ) -> Result<Tensor> {
        let (n, places) = codes.dims2()?;
        let device = codes.device();
        let outside = Tensor::full(self.codes as u32, (n, 1), device)?;
        let known = Tensor::cat(&[codes, &outside], 1)?.contiguous()?;
        let mut inputs = Vec::with_capacity(NEIGHBOURS.len() + 2);
        for neighbours in &self.neighbours {
            let neighbours = Tensor::from_slice(neighbours, places, device)?;
            let found = known.index_select(&neighbours, 1)?.flatten_all()?;
            inputs.push(self.embedding.forward(&found)?);
        }
        let numbers: Vec<u32> = (0..n).flat_map(|_| 0..places as u32).collect();
        inputs.push(self.place.forward(&Tensor::from_vec(numbers, n * places, device)?)?);
        inputs.extend(labels.map(|labels| repeat_rows(labels, places)).transpose()?);
        let inputs = Tensor::cat(&inputs, 1)?;
        let start = Tensor::zeros((n, self.recurrent.state()), inputs.dtype(), device)?;
        let states = self.recurrent.forward(&inputs, &start, &vec![places; n])?;
        let each = self.output.log_likelihood(&states, &codes.flatten_all()?, mode)?;
        Ok(each.reshape((n, places))?.sum(1)?)
    }

    /// Draws maps of codes, `(N, places)` u32, each code from the uniform number in [0, 1) at its place, `(N,
    /// places)`.
    pub(crate) fn draw(&self, uniform: &Tensor, labels: Option<&Tensor>) -> Result<Tensor> {
        let (n, places) = uniform.dims2()?;
        let (dtype, device) = (uniform.dtype(), uniform.device());
        let uniform = uniform.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        // Each row has one extra value, which stands for the places outside the map.
        let mut maps = vec![vec![self.codes as u32; places + 1]; n];
        let mut state = Tensor::zeros((n, self.recurrent.state()), dtype, device)?;
        for place in 0..places {
            let mut inputs = Vec::with_capacity(NEIGHBOURS.len() + 2);
            for neighbours in &self.neighbours {
                let found: Vec<u32> = maps.iter().map(|map| map[neighbours[place] as usize]).collect();
                inputs.push(self.embedding.forward(&Tensor::from_vec(found, n, device)?)?);
            }
            inputs.push(self.place.forward(&Tensor::full(place as u32, n, device)?.contiguous()?)?);
            inputs.extend(labels.cloned());
            state = self.recurrent.step(&Tensor::cat(&inputs, 1)?, &state)?;
            let hidden = state.narrow(1, 0, self.recurrent.hidden())?.contiguous()?;
            let logits = self.output.forward(&hidden, Activation::Identity, Mode::Eval)?;
            let uniforms: Vec<f32> = uniform.iter().map(|row| row[place]).collect();
            for (map, code) in maps.iter_mut().zip(kernels::draw(&logits, 1.0, &uniforms)?) {
                map[place] = code;
            }
        }
        let codes: Vec<u32> = maps.iter().flat_map(|map| map[..places].to_vec()).collect();
        Ok(Tensor::from_vec(codes, (n, places), device)?)
    }
}

/// The place of the neighbour at `(down, right)` of every place of a map; outside of it, the number of places.
fn neighbours((height, width): (usize, usize), (down, right): (isize, isize)) -> Vec<u32> {
    let outside = height * width;
    let place = |at: usize| {
        let row = (at / width).checked_add_signed(down).filter(|row| *row < height);
        let column = (at % width).checked_add_signed(right).filter(|column| *column < width);
        row.zip(column).map_or(outside, |(row, column)| row * width + column) as u32
    };
    (0..outside).map(place).collect()
}

#[cfg(test)]
mod tests {
    use waxwork_core::ParamSet;
    use waxwork_core::rng::Stream;
    use waxwork_nn::layers::CellKind;

    use super::*;

    /// A prior over 2 × 2 maps of codes with three possible values, given two values.
    fn prior(cell: CellKind) -> CodePrior {
        let mut params = ParamSet::fresh_with(4, &Device::Cpu, DType::F64);
        let sizes = CodePriorSizes { embedding: 3, hidden: 5, cell };
        CodePrior::new(params.root(), (2, 2), 3, 2, sizes, WeightInit::Pytorch).unwrap()
    }

    /// All maps of four codes with three possible values, `(81, 4)`.
    fn all() -> Tensor {
        let codes: Vec<u32> =
            (0..81u32).flat_map(|map| [map / 27, map / 9 % 3, map / 3 % 3, map % 3]).collect();
        Tensor::from_vec(codes, (81, 4), &Device::Cpu).unwrap()
    }

    #[test]
    fn the_neighbours_are_those_before_in_raster_order() {
        let found = NEIGHBOURS.map(|step| neighbours((2, 3), step));
        assert_eq!(found[0], [6, 0, 1, 6, 3, 4]);
        assert_eq!(found[1], [6, 6, 6, 6, 0, 1]);
        assert_eq!(found[2], [6, 6, 6, 0, 1, 2]);
        assert_eq!(found[3], [6, 6, 6, 1, 2, 6]);
        for places in found {
            assert!(places.iter().enumerate().all(|(at, place)| *place == 6 || (*place as usize) < at));
        }
    }

    #[test]
    fn probabilities_of_all_maps_add_up_to_one_and_depend_on_the_label() {
        for cell in [CellKind::Lstm, CellKind::Gru] {
            let prior = prior(cell);
            let of = |label: [f64; 2]| -> Vec<f64> {
                let labels = Tensor::new(&[label], &Device::Cpu).unwrap().repeat((81, 1)).unwrap();
                prior.log_likelihood(&all(), Some(&labels), Mode::Eval).unwrap().to_vec1().unwrap()
            };
            let (one, other) = (of([1.0, 0.0]), of([0.0, 1.0]));
            for log_p in [&one, &other] {
                let sum: f64 = log_p.iter().map(|log_p| log_p.exp()).sum();
                assert!((sum - 1.0).abs() < 1e-10, "{sum}");
            }
            assert!(one.iter().zip(&other).any(|(a, b)| (a - b).abs() > 1e-3));
        }
    }

    #[test]
    fn maps_are_drawn_as_often_as_they_are_likely() {
        let (prior, n) = (prior(CellKind::Lstm), 40_000);
        let labels = Tensor::new(&[[1f64, 0.0]], &Device::Cpu).unwrap();
        let of_all = labels.repeat((81, 1)).unwrap();
        let log_p: Vec<f64> =
            prior.log_likelihood(&all(), Some(&of_all), Mode::Eval).unwrap().to_vec1().unwrap();
        let rows: Vec<u64> = (0..n as u64).collect();
        let uniform = Stream::new(2, "uniform", 0).uniform(&rows, 4, &Device::Cpu).unwrap();
        let uniform = uniform.to_dtype(DType::F64).unwrap();
        let drawn = prior.draw(&uniform, Some(&labels.repeat((n, 1)).unwrap())).unwrap();
        let mut counts = [0usize; 81];
        for map in drawn.to_vec2::<u32>().unwrap() {
            counts[map.iter().fold(0, |number, code| number * 3 + *code as usize)] += 1;
        }
        for (map, (count, log_p)) in counts.iter().zip(&log_p).enumerate() {
            let (share, p) = (*count as f64 / n as f64, log_p.exp());
            let deviation = (p * (1.0 - p) / n as f64).sqrt();
            assert!((share - p).abs() < 5.0 * deviation, "map {map}: {share} against {p}");
        }
        // Each map is a function of its own numbers.
        let some =
            prior.draw(&uniform.narrow(0, 7, 2).unwrap(), Some(&labels.repeat((2, 1)).unwrap())).unwrap();
        assert_eq!(some.to_vec2::<u32>().unwrap(), drawn.narrow(0, 7, 2).unwrap().to_vec2::<u32>().unwrap());
    }
}
