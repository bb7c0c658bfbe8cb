//! The manifests of the data sets that Waxwork knows, embedded as text. `waxwork-data` parses them.
//!
//! ```
//! let (_, mnist) = waxwork_datasets::manifests().iter().find(|(name, _)| *name == "mnist").unwrap();
//! assert!(mnist.contains("train-images-idx3-ubyte"));
//! ```

/// Returns the name of every data set and the TOML text of its manifest, in the order of `waxwork data list`.
pub fn manifests() -> &'static [(&'static str, &'static str)] {
    &[
        ("digits", include_str!("../digits.toml")),
        ("shapes", include_str!("../shapes.toml")),
        ("ring", include_str!("../ring.toml")),
        ("grid", include_str!("../grid.toml")),
        ("clinic", include_str!("../clinic.toml")),
        ("drums", include_str!("../drums.toml")),
        ("phrases", include_str!("../phrases.toml")),
        ("oracle", include_str!("../oracle.toml")),
        ("motions", include_str!("../motions.toml")),
        ("moving-digits", include_str!("../moving-digits.toml")),
        ("factors", include_str!("../factors.toml")),
        ("mnist", include_str!("../mnist.toml")),
        ("fashion-mnist", include_str!("../fashion-mnist.toml")),
        ("stacked-mnist", include_str!("../stacked-mnist.toml")),
        ("cifar10", include_str!("../cifar10.toml")),
        ("fsdd", include_str!("../fsdd.toml")),
        ("ptb", include_str!("../ptb.toml")),
        ("coco-captions", include_str!("../coco-captions.toml")),
        ("equations", include_str!("../equations.toml")),
        ("names", include_str!("../names.toml")),
        ("trec", include_str!("../trec.toml")),
        ("sprites", include_str!("../sprites.toml")),
        ("sprites64", include_str!("../sprites64.toml")),
    ]
}
