//! Import of another program's tensors into a recipe's model.

use std::collections::BTreeMap;

use waxwork_core::{ConditionSpec, Device, ParamSet, SampleSpec, Tensor};

use crate::{Error, Recipe, Result};

/// A state dict with the names of a recipe's model.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Every tensor of the model.
    pub tensors: BTreeMap<String, Tensor>,
    /// How all names were changed, in words; None if they fitted unchanged.
    pub renamed: Option<String>,
    /// Groups of parameters that the state dict lacks, such as the discriminator if it has only a generator.
    /// They get random values.
    pub untrained: Vec<String>,
}

/// Fits a PyTorch state dict to the recipe's model, for samples like `sample` under `condition`.
///
/// Names and shapes must be the model's own, with these exceptions. The counter `num_batches_tracked` of a
/// batch norm is dropped. The names of PyTorch's newer spectral norm are converted to the older ones. Any
/// floating-point type is accepted. Wrappers of a module (`module.`, `_orig_mod.`) and a prefix of all names
/// are dropped if more names then fit. The part that makes samples, a generator or a decoder, is enough, with
/// or without its name as a prefix.
///
/// # Errors
/// [`Error::Misfit`] lists everything that is missing, unknown or of another shape; [`Error::Core`] if the
/// recipe makes no valid model.
pub fn fit(
    recipe: &Recipe,
    sample: impl Into<SampleSpec>,
    condition: impl Into<ConditionSpec>,
    state: BTreeMap<String, Tensor>,
) -> Result<Fitted> {
    let model = recipe.model.build(sample, condition, ParamSet::fresh(0, &Device::Cpu))?;
    let expected = model.params().tensors();
    let maker = model.parts().first().map_or("", |part| part.name());
    let state = state.into_iter().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    let state: BTreeMap<String, Tensor> = state.map(|(name, tensor)| (ours(&name), tensor)).collect();
    let (mut state, renamed) = best_names(state, &expected, maker);

    let mut untrained = Vec::new();
    for group in model.groups().iter().map(|group| group.name.as_str()).filter(|name| *name != maker) {
        let of_group = |name: &&String| name.strip_prefix(group).is_some_and(|rest| rest.starts_with('.'));
        if !state.keys().any(|name| of_group(&name)) {
            let fresh = expected.iter().filter(|(name, _)| of_group(name));
            state.extend(fresh.map(|(name, tensor)| (name.clone(), tensor.clone())));
            untrained.push(group.to_owned());
        }
    }

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
    if misfit.is_empty() {
        return Ok(Fitted { tensors: state, renamed, untrained });
    }
    misfit.extend(renamed.map(|renamed| format!("where {renamed}")));
    Err(Error::Misfit { reason: misfit.join("; ") })
}

/// Renames the state dict's tensors so that as many as possible are `expected`, and says how. It tries the
/// ways in which programs wrap and cut models, and keeps the names if no change improves the fit.
fn best_names(
    state: BTreeMap<String, Tensor>,
    expected: &BTreeMap<String, Tensor>,
    maker: &str,
) -> (BTreeMap<String, Tensor>, Option<String>) {
    let unwrapped: Vec<String> = state.keys().map(|name| without_wrappers(name)).collect();
    let plain: Vec<String> = state.keys().cloned().collect();
    let mut best = (0, plain.clone(), None);
    for (names, wrapped) in [(&plain, false), (&unwrapped, true)] {
        for prefix in common_prefixes(names) {
            for before in [String::new(), format!("{maker}.")] {
                let renamed: Vec<String> = names
                    .iter()
                    .map(|name| before.clone() + name.strip_prefix(&prefix).unwrap_or(name))
                    .collect();
                let fitting = renamed.iter().filter(|name| expected.contains_key(*name)).count();
                if fitting > best.0 {
                    let mut done = Vec::new();
                    if wrapped {
                        done.push("`module.` and `_orig_mod.` are left out of names".to_owned());
                    }
                    if !prefix.is_empty() {
                        done.push(format!("`{prefix}` is removed from the start of all names"));
                    }
                    if !before.is_empty() {
                        done.push(format!("`{before}` is added to the start of all names"));
                    }
                    best = (fitting, renamed, Some(done.join(", ")).filter(|done| !done.is_empty()));
                }
            }
        }
    }
    let (_, names, done) = best;
    // If two names became one, a tensor would be lost.
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    if distinct.len() < names.len() {
        return (state, None);
    }
    (names.into_iter().zip(state.into_values()).collect(), done)
}

/// A name without the wrapper modules of `DataParallel` and `torch.compile`.
fn without_wrappers(name: &str) -> String {
    let parts = name.split('.').filter(|part| !["module", "_orig_mod"].contains(part));
    parts.collect::<Vec<_>>().join(".")
}

/// Every prefix up to a dot that all names share, shortest first, beginning with the empty one.
fn common_prefixes(names: &[String]) -> Vec<String> {
    let mut prefixes = vec![String::new()];
    if let Some(first) = names.first() {
        let ends = first.match_indices('.').map(|(at, _)| &first[..=at]);
        prefixes.extend(
            ends.take_while(|prefix| names.iter().all(|name| name.starts_with(*prefix))).map(str::to_owned),
        );
    }
    prefixes
}

/// Converts a name of PyTorch's `parametrizations.spectral_norm` to that of `nn.utils.spectral_norm`.
fn ours(name: &str) -> String {
    let newer = [
        ("parametrizations.weight.original", "weight_orig"),
        ("parametrizations.weight.0._u", "weight_u"),
        ("parametrizations.weight.0._v", "weight_v"),
    ];
    let found = newer.iter().find_map(|(newer, older)| Some((name.strip_suffix(newer)?, older)));
    found.map_or_else(|| name.to_owned(), |(module, older)| format!("{module}{older}"))
}

/// The first of several problems of one kind, and their number.
fn listed(kind: &str, problems: &[String]) -> Option<String> {
    /// The most problems that are listed.
    const TOLD: usize = 3;
    let more = problems.len().saturating_sub(TOLD);
    let told = problems.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    (!problems.is_empty()).then(|| format!("{kind}: {told}{more}"))
}

#[cfg(test)]
mod tests {
    use waxwork_core::{DType, ImageShape};

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
        assert!(found.tensors.keys().eq(tensors.keys()));
        assert!(found.renamed.is_none() && found.untrained.is_empty());
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn removes_and_reports_prefixes_of_wrappers() {
        let recipe = Recipe::named("vae-digits", &[]).unwrap();
        let model = recipe.model.build(IMAGE, 10, ParamSet::fresh(3, &Device::Cpu)).unwrap();
        let tensors = model.params().tensors();
        for (wrapped, told) in [
            ("module.{}", "`module.` is removed from the start of all names"),
            ("_orig_mod.module.{}", "`_orig_mod.module.` is removed from the start of all names"),
            ("model.vae.{}", "`model.vae.` is removed from the start of all names"),
        ] {
            let state = tensors.iter().map(|(name, tensor)| (wrapped.replace("{}", name), tensor.clone()));
            let found = fit(&recipe, IMAGE, 10, state.collect()).unwrap();
            assert_eq!(found.renamed.as_deref(), Some(told));
            for (name, tensor) in &tensors {
                assert_eq!(values(&found.tensors[name]), values(tensor), "{name}");
            }
        }
        // Each half compiled separately.
        let inside = |name: &String| name.replacen('.', "._orig_mod.", 1);
        let state: BTreeMap<String, Tensor> =
            tensors.iter().map(|(name, tensor)| (inside(name), tensor.clone())).collect();
        let found = fit(&recipe, IMAGE, 10, state.clone()).unwrap();
        assert!(found.tensors.keys().eq(tensors.keys()));
        let mut wrong = state;
        wrong.remove("decoder._orig_mod.output.bias").unwrap();
        let said = fit(&recipe, IMAGE, 10, wrong).unwrap_err().to_string();
        assert!(
            said.contains("missing: `decoder.output.bias`") && said.contains("where `module.`"),
            "{said}"
        );
    }

    #[test]
    fn the_generator_or_decoder_is_enough() {
        for (recipe, maker, other) in
            [("gan-digits", "generator", "discriminator"), ("vae-digits", "decoder", "encoder")]
        {
            let recipe = Recipe::named(recipe, &[]).unwrap();
            let model = recipe.model.build(IMAGE, 10, ParamSet::fresh(3, &Device::Cpu)).unwrap();
            let tensors = model.params().tensors();
            let of = |part: &str, kept: bool| -> BTreeMap<String, Tensor> {
                let prefix = format!("{part}.");
                let own =
                    tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?, tensor)));
                own.map(|(name, tensor)| {
                    (format!("{}{name}", if kept { &prefix } else { "" }), tensor.clone())
                })
                .collect()
            };
            for kept in [true, false] {
                let found = fit(&recipe, IMAGE, 10, of(maker, kept)).unwrap();
                assert!(found.tensors.keys().eq(tensors.keys()));
                assert_eq!(found.untrained, [other]);
                for (name, tensor) in of(maker, true) {
                    assert_eq!(values(&found.tensors[&name]), values(&tensor), "{name}");
                }
                assert_eq!(
                    found.renamed,
                    (!kept).then(|| format!("`{maker}.` is added to the start of all names"))
                );
            }
            let said = fit(&recipe, IMAGE, 10, of(other, true)).unwrap_err().to_string();
            assert!(said.contains(&format!("missing: `{maker}.")), "{said}");
            // Half of the other part is a mistake, rather than its absence.
            let mut half = tensors.clone();
            let dropped = half.keys().find(|name| name.starts_with(other)).unwrap().clone();
            half.remove(&dropped);
            assert!(fit(&recipe, IMAGE, 10, half).unwrap_err().to_string().contains(&dropped));
        }
    }

    #[test]
    fn reports_all_mismatches_at_once() {
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
