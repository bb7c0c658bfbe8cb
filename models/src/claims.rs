//! A recipe's claims about itself, kept true when the recipe is changed or its run ends early.

use toml::Value;

use crate::{Difference, Recipe, Result};

/// The most changes that a description lists.
const TOLD: usize = 4;

/// Settings in steps, and what a run that is shorter never reaches.
const STEPS: [(&str, &str); 5] = [
    ("model.kl_warmup_steps", "the KL term never has its full weight"),
    ("model.completion.guess_steps", "only the guesses are trained"),
    ("model.policy.likelihood_steps", "the discriminator is never trained"),
    ("optimizer.warmup_steps", "the learning rate never reaches its base"),
    ("model.n_critic", "the generator is never trained"),
];

/// Settings of a model whose training has stages, which train different weights.
const STAGES: [&str; 2] = ["model.completion.guess_steps", "model.prior.autoregressive"];

impl Recipe {
    /// Removes the claims of this recipe that hold only for `original`, from which it was made and which is
    /// called `name`. If anything about the training differs, results and tags are cleared, and the
    /// description lists the changes. With another data set or model the description is rewritten, unless the
    /// recipe already has its own.
    ///
    /// # Errors
    /// As [`Recipe::to_toml`].
    pub fn disclaim(&mut self, original: &Self, name: &str) -> Result<()> {
        let differences = original.differences(self)?;
        if differences.is_empty() {
            return Ok(());
        }
        self.results.clear();
        self.tags.clear();
        if self.description != original.description {
            return Ok(());
        }
        let elsewhere =
            |difference: &Difference| ["data.", "model."].iter().any(|of| difference.key.starts_with(of));
        if differences.iter().any(elsewhere) {
            let family = self.family().to_uppercase();
            self.description = format!("{family} on `{}`, from the recipe `{name}`", self.data.name);
        }
        // A setting that is now off and was absent before is not worth listing.
        let worth =
            |difference: &&Difference| difference.was.is_some() || difference.is.as_deref() != Some("false");
        let changes: Vec<&Difference> = differences.iter().filter(worth).collect();
        let change = |difference: &&Difference| match &difference.is {
            Some(value) => format!("{} = {value}", difference.key),
            None => format!("no {}", difference.key),
        };
        let mut told: Vec<String> = changes.iter().take(TOLD).map(change).collect();
        if changes.len() > TOLD {
            told.push(format!("{} more", changes.len() - TOLD));
        }
        self.description += &format!(" (changed: {})", told.join(", "));
        Ok(())
    }

    /// Settings in steps that lie beyond the end of a run of `steps` steps: one line each on what it never
    /// reaches.
    ///
    /// # Errors
    /// As [`Recipe::to_toml`].
    pub fn beyond(&self, steps: u64) -> Result<Vec<String>> {
        let recipe = self.to_value()?;
        let number = |key: &str| {
            let value = key.split('.').try_fold(&recipe, |value, part| value.get(part))?;
            u64::try_from(value.as_integer()?).ok()
        };
        let mut lines = Vec::new();
        for (key, never) in STEPS {
            if let Some(set) = number(key).filter(|&set| set > steps) {
                lines.push(format!("`{key}` is {set}, but the run has only {steps} steps: {never}"));
            }
        }
        let schedule = recipe.get("optimizer").and_then(|optimizer| optimizer.get("schedule"));
        let milestones = schedule.and_then(|schedule| schedule.get("milestones")?.as_array());
        let last = milestones.and_then(|steps| steps.iter().filter_map(Value::as_integer).max());
        if let Some(last) = last.filter(|&last| u64::try_from(last).is_ok_and(|last| last >= steps)) {
            lines.push(format!(
                "`optimizer.schedule.milestones` end at {last}, but the run has only {steps} steps: the learning rate never reaches its last value"
            ));
        }
        Ok(lines)
    }

    /// Settings that may harm a model whose training has stages: one line each. Empty for all other models.
    ///
    /// # Errors
    /// As [`Recipe::to_toml`].
    pub fn across_stages(&self) -> Result<Vec<String>> {
        let recipe = self.to_value()?;
        let is_set = |key: &str| {
            let value = key.split('.').try_fold(&recipe, |value, part| value.get(part));
            value.is_some_and(|value| value.as_integer() != Some(0))
        };
        let mut lines = Vec::new();
        if !STAGES.into_iter().any(is_set) {
            return Ok(lines);
        }
        if self.optimizer.ema.is_some() {
            lines.push(
                "`optimizer.ema` averages weights only while they are trained: the averages of an early stage lag behind its weights, which later stages build on"
                    .to_owned(),
            );
        }
        if self.train.patience > 0 {
            lines.push("`train.patience` may end the run before its last stage is trained".to_owned());
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(name: &str, settings: &[&str]) -> Recipe {
        let original = Recipe::named(name, &[]).unwrap();
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let mut recipe = Recipe::named(name, &settings).unwrap();
        recipe.disclaim(&original, name).unwrap();
        recipe
    }

    #[test]
    fn a_changed_recipe_claims_nothing_that_it_was_not_measured_for() {
        let original = Recipe::named("vae-shapes", &[]).unwrap();
        assert!(
            original.results.contains_key("neg_elbo") && original.description.contains("coloured shapes")
        );
        assert_eq!(changed("vae-shapes", &[]), original);
        assert_eq!(changed("vae-shapes", &["data.dir=elsewhere"]).results, original.results);

        let shorter = changed("vae-shapes", &["train.steps=200"]);
        assert!(shorter.results.is_empty());
        assert_eq!(shorter.description, format!("{} (changed: train.steps = 200)", original.description));
        let cats = changed("vae-shapes", &["data.name=folder"]);
        assert!(cats.results.is_empty() && !cats.description.contains("shapes, 32"), "{}", cats.description);
        assert_eq!(
            cats.description,
            "VAE on `folder`, from the recipe `vae-shapes` (changed: data.name = \"folder\")"
        );
        let own = changed("vae-shapes", &["data.name=folder", "description=my cats"]);
        assert_eq!((own.description.as_str(), own.results.len()), ("my cats", 0));
        let tagged = changed("vae-digits", &["train.seed=1"]);
        assert!(tagged.tags.is_empty() && tagged.results.is_empty());
        let many = changed(
            "vae-digits",
            &["train.seed=1", "train.steps=5", "train.keep=1", "train.log_every=1", "train.sample_every=1"],
        );
        assert!(many.description.ends_with(", 1 more)"), "{}", many.description);
    }

    #[test]
    fn names_settings_that_a_run_never_reaches() {
        let recipe = changed("vae-shapes", &["optimizer.warmup_steps=300"]);
        assert_eq!(
            recipe.beyond(200).unwrap(),
            [
                "`model.kl_warmup_steps` is 1000, but the run has only 200 steps: the KL term never has its full weight",
                "`optimizer.warmup_steps` is 300, but the run has only 200 steps: the learning rate never reaches its base",
            ]
        );
        assert_eq!(recipe.beyond(1000).unwrap(), [] as [&str; 0]);
        let policy = changed("gan-seqgan", &[]);
        assert!(policy.beyond(5999).unwrap()[0].ends_with("5999 steps: the discriminator is never trained"));
        // A language model of its own.
        assert_eq!(policy.beyond(6000).unwrap(), [] as [&str; 0]);
        let stepped = "optimizer.schedule={kind=\"steps\",milestones=[10,90],factor=0.1}";
        let recipe = changed("gan-digits", &["model.n_critic=5", stepped]);
        assert_eq!(recipe.beyond(100).unwrap().len(), 0);
        let lines = recipe.beyond(4).unwrap();
        assert!(
            lines[0].contains("the generator is never trained") && lines[1].contains("end at 90"),
            "{lines:?}"
        );
    }

    #[test]
    fn warns_of_settings_that_do_not_suit_stages() {
        let both = ["optimizer.ema=0.99", "train.patience=3"];
        assert_eq!(changed("vae-digits", &both).across_stages().unwrap().len(), 0);
        assert_eq!(changed("vae-digits-fsq", &[]).across_stages().unwrap().len(), 0);
        let lines = changed("vae-digits-fsq", &both).across_stages().unwrap();
        assert!(
            lines[0].starts_with("`optimizer.ema`") && lines[1].starts_with("`train.patience`"),
            "{lines:?}"
        );
        let completion = "model.completion={given=\"left\",guess_steps=5}";
        let network = "model.network={kind=\"mlp\",hidden=[8]}";
        let recipe = changed("cvae-digits-holes", &[completion, network, "train.patience=3"]);
        assert_eq!(recipe.across_stages().unwrap().len(), 1);
    }
}
