//! The start of training at the mean of the training samples (Burda et al. 2016).

use candle_core::{Device, Tensor};
use waxwork_core::{Error, ParamSet, Result};

/// The bias of the decoder's output layer, for a network of the kind `mlp`.
const BIAS: &str = "decoder.output.bias";

/// The range to which means are clipped, so that a pixel that is always black has a finite logit.
const CLIPPED: (f64, f64) = (0.001, 0.999);

/// Sets the decoder's output bias to the logit of `mean`, the mean of the training samples in [0, 1], value
/// by value.
///
/// # Errors
/// If there is no such bias, or it has another length.
pub fn at_mean(params: &ParamSet, mean: &[f64]) -> Result<()> {
    let (low, high) = CLIPPED;
    let logit = |mean: &f64| {
        let p = mean.clamp(low, high);
        libm::log(p / (1.0 - p)) as f32
    };
    let bias = params.get(BIAS).ok_or_else(|| Error::UnknownParameter { name: BIAS.into() })?;
    let logits: Vec<f32> = mean.iter().map(logit).collect();
    let logits = Tensor::from_vec(logits, bias.shape(), &Device::Cpu)?;
    bias.set(&logits.to_dtype(bias.dtype())?.to_device(bias.device())?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use waxwork_core::{Drawing, GenerativeModel, ImageShape, Trainable};

    use super::*;
    use crate::{Network, Vae, VaeConfig};

    #[test]
    fn a_decoder_without_other_weights_returns_the_mean_clipped() {
        let config = VaeConfig {
            latent_dim: 2,
            network: Network::Mlp { hidden: vec![3] },
            start_at_mean: true,
            ..VaeConfig::default()
        };
        let vae = Vae::new(config, ImageShape::new(1, 2, 2), ParamSet::fresh(0, &Device::Cpu)).unwrap();
        let weight = vae.params().get("decoder.output.weight").unwrap();
        weight.set(&weight.zeros_like().unwrap()).unwrap();
        at_mean(vae.params(), &[0.0, 0.25, 0.5, 1.0]).unwrap();
        let z = Tensor::new(&[[0.5f32, -2.0]], &Device::Cpu).unwrap();
        let images = vae.generate(&z, &waxwork_core::Condition::None, &Drawing::none()).unwrap();
        let pixels: Vec<f32> = images.flatten_all().unwrap().to_vec1().unwrap();
        for (pixel, expected) in pixels.iter().zip([0.001, 0.25, 0.5, 0.999]) {
            assert!((pixel - expected).abs() < 1e-6, "{pixels:?}");
        }
        assert!(at_mean(vae.params(), &[0.5; 3]).is_err());
    }
}
