//! The recipes that come with Waxwork, as text.

use waxwork_data::names::nearest;

use crate::{Error, Result};

macro_rules! recipes {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../", $name, ".toml")))),*]
    };
}

/// Name and text of every recipe, in the order in which lists show them.
pub const RECIPES: &[(&str, &str)] = recipes![
    "vae-digits",
    "cvae-digits",
    "gan-digits",
    "cgan-digits",
    "vae-shapes",
    "cvae-shapes",
    "gan-shapes",
    "cgan-shapes",
    "vae-mnist",
    "cvae-mnist",
    "gan-mnist",
    "cgan-mnist",
    "vae-fashion-mnist",
    "cvae-fashion-mnist",
    "gan-fashion-mnist",
    "cgan-fashion-mnist",
    "vae-cifar10",
    "cvae-cifar10",
    "gan-cifar10",
    "cgan-cifar10",
    "vae-sprites64",
    "cvae-sprites64",
    "gan-sprites64",
    "cgan-sprites64",
    "vae",
    "cvae",
    "gan",
    "cgan",
    "cvae-digits-holes",
    "vae-mlp-mnist",
    "cvae-mlp-mnist",
    "gan-dcgan-mnist",
    "cgan-dcgan-mnist",
    "gan-dcgan-cifar10",
    "gan-digits-plain",
    "cgan-digits-plain",
    "gan-mnist-plain",
    "cgan-mnist-plain",
    "cgan-cifar10-plain",
    "gan-little-mnist",
    "vae-ring",
    "gan-ring",
    "vae-factors",
    "vae-factors-tc",
    "vae-clinic",
    "cvae-clinic",
    "gan-clinic",
    "cgan-clinic",
    "vae-table",
    "cvae-table",
    "gan-table",
    "cgan-table",
    "vae-drums",
    "cvae-drums",
    "gan-drums",
    "cgan-drums",
    "cgan-drums-wave",
    "vae-fsdd",
    "cvae-fsdd",
    "gan-fsdd",
    "cgan-fsdd",
    "cgan-fsdd-wave",
    "vae-phrases",
    "cvae-phrases",
    "gan-phrases",
    "cgan-phrases",
    "gan-seqgan-phrases",
    "cgan-seqgan-phrases",
    "vae-motions",
    "cvae-motions",
    "gan-motions",
    "cgan-motions",
    "vae-sprites",
    "cvae-sprites",
    "gan-sprites",
    "cgan-sprites",
    "vae-ptb",
    "vae-equations",
    "cvae-names",
    "cvae-trec",
    "vae-coco-captions",
    "gan-seqgan-coco",
    "gan-seqgan",
    "vae-digits-fsq",
    "cvae-digits-fsq",
    "vae-mnist-fsq",
    "cvae-mnist-fsq",
];

/// The text of the recipe called `name`.
///
/// # Errors
/// [`Error::UnknownRecipe`] with the nearest name.
pub fn text(name: &str) -> Result<&'static str> {
    let found = RECIPES.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text).ok_or_else(|| Error::UnknownRecipe {
        name: name.to_owned(),
        nearest: nearest(name, RECIPES.iter().map(|(known, _)| *known)),
    })
}
