//! Tensors that another program trained, as the tensors of a recipe's model.

use std::collections::BTreeMap;

use waxwork_core::{Device, ImageShape, ParamSet, Tensor};

use crate::{Error, Recipe, Result};

/// The tensors of the recipe's model, of images of shape `image` in `classes` classes, out of a PyTorch state dict.
///
/// Names and shapes are the model's own, with three liberties that PyTorch takes: the counter `num_batches_tracked` of a
/// batch norm is left out, the names of its newer spectral norm are turned into those of the older one, and any floating-point
/// type will do.
///
/// # Errors
/// [`Error::Misfit`] names what is missing, what is unknown and what has another shape, all at once; [`Error::Core`] if the recipe
/// makes no model.
pub fn fit(
    recipe: &Recipe,
    image: ImageShape,
    classes: usize,
    state: BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    let model = recipe.model.build(image, classes, ParamSet::fresh(0, &Device::Cpu))?;
    let expected = model.params().tensors();
    let state = state.into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    let state: BTreeMap<String, Tensor> = state.map(|(name, tensor)| (ours(&name), tensor)).collect();
    let mut misfit = Vec::new();
    let missing = expected.iter().filter(|(name, _)| !state.contains_key(*name));
    let missing = missing.map(|(name, tensor)| format!("`{name}` of shape {:?}", tensor.dims()));
    misfit.extend(listed("missing", &missing.collect::<Vec<_>>()));
    let unknown = state.keys().filter(|name| !expected.contains_key(*name));
    misfit.extend(listed("unknown", &unknown.map(|name| format!("`{name}`")).collect::<Vec<_>>()));
    let misshaped = state.iter().filter_map(|(name, tensor)| {
        let (found, wanted) = (tensor.dims(), expected.get(name)?.dims());
        (found != wanted).then(|| format!("`{name}` is {found:?} instead of {wanted:?}"))
    });
    misfit.extend(listed("of another shape", &misshaped.collect::<Vec<_>>()));
    let numbers = |(_, tensor): &(&String, &Tensor)| !tensor.dtype().is_float();
    let whole = state.iter().filter(numbers).map(|(name, tensor)| format!("`{name}` ({:?})", tensor.dtype()));
    misfit.extend(listed("not of floats", &whole.collect::<Vec<_>>()));
    if misfit.is_empty() { Ok(state) } else { Err(Error::Misfit { reason: misfit.join("; ") }) }
}

/// PyTorch's `parametrizations.spectral_norm` under the names of `nn.utils.spectral_norm`.
fn ours(name: &str) -> String {
    let newer = [
        ("parametrizations.weight.original", "weight_orig"),
        ("parametrizations.weight.0._u", "weight_u"),
        ("parametrizations.weight.0._v", "weight_v"),
    ];
    let found = newer.iter().find_map(|(newer, older)| Some((name.strip_suffix(newer)?, older)));
    found.map_or_else(|| name.to_owned(), |(module, older)| format!("{module}{older}"))
}

/// The first of several problems of one kind, and how many there are.
fn listed(kind: &str, problems: &[String]) -> Option<String> {
    /// Problems that are told in full.
    const TOLD: usize = 3;
    let more = problems.len().saturating_sub(TOLD);
    let told = problems.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!problems.is_empty()).then(|| format!("{kind}: {told}{more}"))
}

#[cfg(test)]
mod tests {
    use waxwork_core::DType;

    use super::*;

    const IMAGE: ImageShape = ImageShape::new(1, 28, 28);

    #[test]
    fn a_state_dict_with_pytorchs_liberties_is_taken() {
        let setting = "model.discriminator={kind=\"mlp\",hidden=[4],norm=\"spectral\"}".to_owned();
        let recipe = Recipe::named("gan-digits", &[setting]).unwrap();
        let model = recipe.model.build(IMAGE, 10, ParamSet::fresh(3, &Device::Cpu)).unwrap();
        let tensors = model.params().tensors();
        let theirs = |name: &String| {
            let name = name.replace("weight_orig", "parametrizations.weight.original");
            name.replace("weight_u", "parametrizations.weight.0._u")
                .replace("weight_v", "parametrizations.weight.0._v")
        };
        let state = tensors.iter().map(|(name, tensor)| (theirs(name), tensor.to_dtype(DType::F64).unwrap()));
        let mut state: BTreeMap<String, Tensor> = state.collect();
        let counter = Tensor::new(7i64, &Device::Cpu).unwrap();
        state.insert("generator.norm.num_batches_tracked".into(), counter);
        let found = fit(&recipe, IMAGE, 10, state).unwrap();
        assert!(found.keys().eq(tensors.keys()));
    }

    #[test]
    fn everything_that_does_not_fit_is_told_at_once() {
        let recipe = Recipe::named("vae-digits", &[]).unwrap();
        let model = recipe.model.build(IMAGE, 10, ParamSet::fresh(3, &Device::Cpu)).unwrap();
        let mut state = model.params().tensors();
        state.retain(|name, _| !name.starts_with("encoder.down"));
        let bias = state.remove("decoder.output.bias").unwrap();
        state.insert("decoder.out.bias".into(), bias.clone());
        state.insert("encoder.mean.bias".into(), bias);
        let error = fit(&recipe, IMAGE, 10, state).unwrap_err().to_string();
        for word in [
            "missing: `decoder.output.bias` of shape [1568], `encoder.down.0.conv.bias`",
            "and 2 more",
            "unknown: `decoder.out.bias`",
            "`encoder.mean.bias` is [1568] instead of [10]",
        ] {
            assert!(error.contains(word), "{error}");
        }
    }
}
