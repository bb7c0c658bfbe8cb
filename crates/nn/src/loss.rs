//! Losses as pure, numerically safe functions of logits and targets. Unless stated otherwise, the result is
//! one value per sample, `(N)`, in nats.

use candle_core::{D, Tensor};

use waxwork_core::Result;
pub use waxwork_kernels::{bce_with_logits_sum, gaussian_kl, softplus};
use waxwork_kernels::{exp, log, squared_error_sum};

/// ln(2π).
pub const LN_TWO_PI: f64 = 1.837_877_066_409_345_5;

/// Sum over all but the first dimension: `(N, …)` → `(N)`.
pub fn sum_per_sample(x: &Tensor) -> Result<Tensor> {
    Ok(x.flatten_from(1)?.sum(1)?)
}

/// Binary cross-entropy of logits against targets in [0, 1] elementwise; [`bce_with_logits_sum`] is its sum
/// over each sample.
pub fn bce_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    Ok((softplus(logits)? - logits.mul(targets)?)?)
}

/// −log N(x; mean, exp(log_scale)²) elementwise. `log_scale` broadcasts against `x`.
pub fn gaussian_nll(x: &Tensor, mean: &Tensor, log_scale: &Tensor) -> Result<Tensor> {
    let standardised = (x - mean)?.broadcast_mul(&exp(&log_scale.neg()?)?)?;
    Ok(standardised.sqr()?.affine(0.5, 0.5 * LN_TWO_PI)?.broadcast_add(log_scale)?)
}

/// [`gaussian_nll`] summed over each sample. `log_scale` is a single value, of any rank.
pub fn gaussian_nll_sum(x: &Tensor, mean: &Tensor, log_scale: &Tensor) -> Result<Tensor> {
    let log_scale = log_scale.reshape(1)?;
    let values = x.elem_count() as f64 / x.dim(0)?.max(1) as f64;
    // Multiplied twice, because the square of the inverse may be infinite.
    let inverse = exp(&log_scale.neg()?)?;
    let squares = squared_error_sum(x, mean)?.broadcast_mul(&inverse)?.broadcast_mul(&inverse)?;
    let constant = log_scale.affine(values, values * 0.5 * LN_TWO_PI)?;
    Ok(squares.affine(0.5, 0.0)?.broadcast_add(&constant)?)
}

/// log N(x; mean, exp(log_var)) summed over each sample.
pub fn gaussian_log_density(x: &Tensor, mean: &Tensor, log_var: &Tensor) -> Result<Tensor> {
    let squares = (x - mean)?.sqr()?.mul(&exp(&log_var.neg()?)?)?;
    sum_per_sample(&(squares + log_var)?.affine(-0.5, -0.5 * LN_TWO_PI)?)
}

/// log N(x; 0, 1) summed over each sample.
pub fn standard_normal_log_density(x: &Tensor) -> Result<Tensor> {
    sum_per_sample(&x.sqr()?.affine(-0.5, -0.5 * LN_TWO_PI)?)
}

/// log C(λ) of the continuous Bernoulli (Loaiza-Ganem & Cunningham 2019, eq. 8) elementwise, from logits l =
/// logit(λ).
///
/// In logits, the constant is l / tanh(l / 2), whose limit at 0 is 2. Near 0, the series log 2 + l²/12 −
/// 7l⁴/1440 + 31l⁶/90720 is used.
pub fn continuous_bernoulli_log_constant(logits: &Tensor) -> Result<Tensor> {
    const NEAR: f64 = 0.3;
    let magnitude = logits.abs()?;
    let near = magnitude.lt(NEAR)?;
    // Each branch gets only values from its own side, so that the other side's cannot spoil the gradient.
    let edge = magnitude.ones_like()?.affine(NEAR, 0.0)?;
    let far = near.where_cond(&edge, &magnitude)?;
    let decay = exp(&far.neg()?)?;
    let closed = ((log(&far)? - log(&decay.affine(-1.0, 1.0)?)?)? + log(&decay.affine(1.0, 1.0)?)?)?;
    let square = near.where_cond(&magnitude, &edge)?.sqr()?;
    let series = square.affine(31.0 / 90720.0, -7.0 / 1440.0)?.mul(&square)?.affine(1.0, 1.0 / 12.0)?;
    let series = series.mul(&square)?.affine(1.0, std::f64::consts::LN_2)?;
    Ok(near.where_cond(&series, &closed)?)
}

/// log Σ exp over the last dimension, safe for large magnitudes: `(…, K)` → `(…)`.
pub fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let peak = x.max_keepdim(D::Minus1)?.detach();
    let sum = exp(&x.broadcast_sub(&peak)?)?.sum(D::Minus1)?;
    Ok((log(&sum)? + peak.squeeze(D::Minus1)?)?)
}

/// log of the mean of exp over the last dimension: `(…, K)` → `(…)`.
pub fn log_mean_exp(x: &Tensor) -> Result<Tensor> {
    let k = x.dim(D::Minus1)?;
    Ok(log_sum_exp(x)?.affine(1.0, -libm::log(k as f64))?)
}

/// −log softmax(logits) at the label: logits `(N, K)` and one-hot labels `(N, K)` → `(N)`.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    Ok((log_sum_exp(logits)? - logits.mul(labels)?.sum(1)?)?)
}

/// ln Σ exp(terms); −∞ for no terms.
pub fn log_sum_exp_of(terms: &[f64]) -> f64 {
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + libm::log(terms.iter().map(|term| libm::exp(term - most)).sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn vector(values: &[f64]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn continuous_bernoulli_constant_matches_numerical_integration_and_its_gradient_closed_form() {
        for logit in [-20.0, -3.0, -0.31, -0.29, -1e-4, 1e-3, 0.2, 0.3, 2.0, 15.0f64] {
            let lambda = 1.0 / (1.0 + (-logit).exp());
            let n = 200_000;
            let density = |x: f64| lambda.powf(x) * (1.0 - lambda).powf(1.0 - x);
            let integral: f64 = (0..n).map(|i| density((i as f64 + 0.5) / n as f64)).sum::<f64>() / n as f64;
            let logits = Var::from_tensor(&vector(&[logit])).unwrap();
            let constant = continuous_bernoulli_log_constant(&logits).unwrap();
            let got = constant.to_vec1::<f64>().unwrap()[0];
            assert!((got + integral.ln()).abs() < 2e-7, "{logit}: {got} against {}", -integral.ln());
            let grads = constant.sum_all().unwrap().backward().unwrap();
            let gradient = grads.get(&logits).unwrap().to_vec1::<f64>().unwrap()[0];
            let expected = 1.0 / logit - 1.0 / logit.sinh();
            assert!((gradient - expected).abs() < 1e-5, "{logit}: {gradient} against {expected}");
        }
    }

    #[test]
    fn log_sum_exp_is_safe() {
        let x = vector(&[1000.0, 1000.0, -1000.0, -1001.0]).reshape((2, 2)).unwrap();
        let got = log_sum_exp(&x).unwrap().to_vec1::<f64>().unwrap();
        assert!((got[0] - (1000.0 + 2f64.ln())).abs() < 1e-9);
        assert!((got[1] - (-1000.0 + (1.0 + (-1f64).exp()).ln())).abs() < 1e-9);
    }

    #[test]
    fn the_cross_entropy_of_each_value_adds_up_to_that_of_the_sample() {
        let (logits, targets) = ([-200.0, -1.5, 0.0, 0.3, 90.0], [0.0, 0.2, 1.0, 0.5, 1.0]);
        let row = |values: [f64; 5]| vector(&values).reshape((1, 5)).unwrap();
        let each = bce_with_logits(&row(logits), &row(targets)).unwrap();
        let each: Vec<f64> = each.flatten_all().unwrap().to_vec1().unwrap();
        for ((found, x), t) in each.iter().zip(logits).zip(targets) {
            // log(1 + exp(x)) without overflow.
            let softplus = x.max(0.0) + (-x.abs()).exp().ln_1p();
            assert!((found - (softplus - x * t)).abs() < 1e-9, "{found} at {x}");
        }
        let sum = bce_with_logits_sum(&row(logits), &row(targets)).unwrap().to_vec1::<f64>().unwrap()[0];
        assert!((sum - each.iter().sum::<f64>()).abs() < 1e-9);
    }

    #[test]
    fn gaussian_densities_agree_with_the_closed_form() {
        let (x, mean) =
            (vector(&[0.5, -1.0]).reshape((1, 2)).unwrap(), vector(&[0.0, 1.0]).reshape((1, 2)).unwrap());
        let scale: f64 = 0.7;
        let density = |x: f64, m: f64| -0.5 * ((x - m) / scale).powi(2) - scale.ln() - 0.5 * LN_TWO_PI;
        let expected = density(0.5, 0.0) + density(-1.0, 1.0);
        let nll = gaussian_nll_sum(&x, &mean, &vector(&[scale.ln()])).unwrap();
        assert!((nll.to_vec1::<f64>().unwrap()[0] + expected).abs() < 1e-12);
        let log_var = vector(&[2.0 * scale.ln(), 2.0 * scale.ln()]).reshape((1, 2)).unwrap();
        let log_density = gaussian_log_density(&x, &mean, &log_var).unwrap();
        assert!((log_density.to_vec1::<f64>().unwrap()[0] - expected).abs() < 1e-12);
    }
}
