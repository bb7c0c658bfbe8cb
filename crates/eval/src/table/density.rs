//! The likelihood of rows in a table's own units, from a decoder's distribution of their encoded form.
//!
//! A model sees a number as its mode and a scalar within that mode. The likelihood of the number is the sum,
//! over all its possible modes, of the mass of the cell of numbers that are written alike. A cell spans ±½
//! for an integer and ±½ of the last decimal for other numbers. The cells of the column's smallest and
//! greatest value are open, because rows are clipped to these. For numbers with decimals, the mass is divided
//! by the width of the cell. That gives the density per unit, which is comparable to a density of exact
//! numbers.

use waxwork_core::model::Decoded;
use waxwork_core::{DType, Device, Tensor};
use waxwork_data::table::encode::{DEVIATIONS, Encoder, Shape};
use waxwork_data::table::modes::Mode;
use waxwork_data::table::{Kind, Table, Values};
use waxwork_nn::loss::log_sum_exp_of;

/// Minimum probability, or density, of a value, the same as in SDGym's likelihoods and the density of
/// `clinic`. A model cannot produce a number beyond four standard deviations of every mode. Without this
/// floor, a single such value would dominate the mean over all rows.
pub const LEAST: f64 = 1e-8;

/// Returns log p(row) in nats of the rows of `table` with these numbers, by importance sampling from a
/// decoder's output (Burda et al. 2016).
///
/// # Errors
/// If a tensor cannot be read.
pub fn log_likelihoods(
    encoder: &Encoder,
    table: &Table,
    rows: &[usize],
    decoded: &Decoded,
) -> waxwork_core::Result<Vec<f64>> {
    let host = |tensor: &Tensor| -> waxwork_core::Result<Vec<f64>> {
        Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
    };
    let (outputs, scales, weights) =
        (host(&decoded.outputs)?, host(&decoded.scales)?, host(&decoded.log_weights)?);
    let draws = weights.len() / rows.len().max(1);
    let width = outputs.len() / weights.len().max(1);
    let each = rows.iter().enumerate().map(|(i, &row)| {
        let terms: Vec<f64> = (i * draws..(i + 1) * draws)
            .map(|draw| {
                let output = &outputs[draw * width..][..width];
                weights[draw] + given_latent(encoder, table, row, output, &scales)
            })
            .collect();
        log_sum_exp_of(&terms) - libm::log(terms.len() as f64)
    });
    Ok(each.collect())
}

/// Returns log p(row | z).
fn given_latent(encoder: &Encoder, table: &Table, row: usize, output: &[f64], scales: &[f64]) -> f64 {
    let (output, mut of_modes) = output.split_at(encoder.layout().width());
    let (mut total, mut number, mut scales) = (0.0, None, scales.iter());
    for segment in &encoder.layout().segments {
        let Shape::Choice(places) = segment.shape else {
            number = Some((output[segment.start], scales.next().copied().unwrap_or(1.0)));
            continue;
        };
        let (mean, sd) = number.unwrap_or((0.0, 1.0));
        let mut means = std::slice::from_ref(&mean);
        if number.take().is_some() && !of_modes.is_empty() {
            (means, of_modes) = of_modes.split_at(places);
        }
        let (probabilities, index) = (&output[segment.start..][..places], segment.column);
        let (column, kind) = (&table.columns()[index], &encoder.schema().columns[index].kind);
        let probability = match (column.values(), column.number(row)) {
            (Values::Numbers(_), Some(value)) => {
                density(kind, value, encoder.modes(index), probabilities, (means, sd))
            }
            (Values::Numbers(_), None) => encoder.null_place(index).map_or(0.0, |place| probabilities[place]),
            (Values::Text(_), _) => {
                encoder.place(index, column.text(row)).map_or(0.0, |place| probabilities[place])
            }
        };
        total += libm::log(probability.max(LEAST));
    }
    total
}

/// Returns the mass of the cell of a number, divided by the cell's width if the column has decimals. `means` has the
/// mean in each mode, or one for all.
fn density(
    kind: &Kind,
    value: f64,
    modes: &[Mode],
    probabilities: &[f64],
    (means, sd): (&[f64], f64),
) -> f64 {
    let (width, min, max) = match kind {
        Kind::Number { min, max, decimals } => (libm::pow(10.0, -f64::from(decimals.most)), *min, *max),
        Kind::Integer { min, max, .. } => (1.0, *min, *max),
        Kind::Date { min, max, .. } => (1.0, *min as f64, *max as f64),
        _ => return 0.0,
    };
    let low = if value <= min { f64::NEG_INFINITY } else { value - width / 2.0 };
    let high = if value >= max { f64::INFINITY } else { value + width / 2.0 };
    let mass: f64 = modes
        .iter()
        .zip(probabilities)
        .zip(means.iter().cycle())
        .map(|((mode, probability), mean)| {
            if mode.is_point() {
                return if kind.snap(mode.mean) == value { *probability } else { 0.0 };
            }
            let standard = |x: f64| ((x - mode.mean) / (DEVIATIONS * mode.sd) - mean) / sd;
            probability * normal_between(standard(low), standard(high))
        })
        .sum();
    mass / width
}

/// Returns the mass of a standard normal between two numbers, without cancellation in either tail.
fn normal_between(low: f64, high: f64) -> f64 {
    let upper = |x: f64| 0.5 * libm::erfc(x * std::f64::consts::FRAC_1_SQRT_2);
    if low > 0.0 { upper(low) - upper(high) } else { upper(-high) - upper(-low) }
}

#[cfg(test)]
mod tests {
    use waxwork_data::table::{TableOptions, csv};

    use super::*;

    /// The decoder's output does not depend on the latent, so the likelihood is a product of mixtures in
    /// closed form.
    #[test]
    fn masses_of_all_that_can_be_written_add_up_to_one() {
        let number = |i: usize| if i % 4 == 1 { String::new() } else { (i * i % 23).to_string() };
        let rows: String = (0..60).map(|i| format!("{},{}\n", number(i), ["a", "b", ""][i % 3])).collect();
        let table = csv::read_from("t.csv".as_ref(), format!("n,c\n{rows}").as_bytes(), &options()).unwrap();
        let encoder = Encoder::fit(&table, |_| ()).unwrap();
        let (modes, width) = (encoder.modes(0).len(), encoder.layout().width());
        assert_eq!(width, 1 + modes + 1 + 3);
        let mut output = vec![0.3f64];
        output.extend((1..=modes).map(|i| 0.75 * i as f64 / (modes * (modes + 1) / 2) as f64));
        output.push(0.25);
        output.extend([0.5, 0.2, 0.3]);
        let decoded = |n: usize, output: &[f64]| Decoded {
            outputs: Tensor::from_vec(output.repeat(2 * n), (2 * n, output.len()), &Device::Cpu).unwrap(),
            scales: Tensor::new(&[0.2f64], &Device::Cpu).unwrap(),
            log_weights: Tensor::from_vec([libm::log(0.5), libm::log(1.5)].repeat(n), (n, 2), &Device::Cpu)
                .unwrap(),
        };
        // Squares modulo 23 end at 18; no number above it can be written.
        let all: String = (0..19).map(|n| format!("{n},a\n")).chain([",a\n".to_owned()]).collect();
        let every = csv::read_from("t.csv".as_ref(), format!("n,c\n{all}").as_bytes(), &options()).unwrap();
        let numbers: Vec<usize> = (0..20).collect();
        let of = |output: &[f64]| log_likelihoods(&encoder, &every, &numbers, &decoded(20, output)).unwrap();
        let one_mean = of(&output);
        let sum: f64 = one_mean.iter().map(|value| value.exp()).sum();
        // The mean of the weights is 1, and category a has 0.5.
        assert!((sum - 0.5).abs() < 1e-9, "{sum}");
        // The same mean in every mode, where that of the number itself no longer matters.
        let same = [&output[..], &vec![0.3; modes + 1]].concat();
        assert_eq!(of(&[&[-9.0], &same[1..]].concat()), one_mean);
        let own: Vec<f64> = (0..=modes).map(|mode| 0.2 * mode as f64 - 0.4).collect();
        let own = of(&[&output[..], &own].concat());
        let sum: f64 = own.iter().map(|value| value.exp()).sum();
        assert!((sum - 0.5).abs() < 1e-9 && own != one_mean, "{sum}");
    }

    fn options() -> TableOptions {
        serde_json::from_str(r#"{"columns":{"n":{"kind":"integer"}}}"#).unwrap()
    }

    #[test]
    fn tails_are_exact() {
        let far = normal_between(10.0, 11.0);
        // From `math.erfc` in Python.
        assert!((far - 7.619_661_958_203_143e-24).abs() < 1e-36, "{far}");
        assert!((normal_between(-11.0, -10.0) - far).abs() < 1e-36);
        assert!((normal_between(-1.0, 1.0) - 0.682_689_492_137_085_9).abs() < 1e-15);
        assert_eq!(normal_between(f64::NEG_INFINITY, f64::INFINITY), 1.0);
    }
}
