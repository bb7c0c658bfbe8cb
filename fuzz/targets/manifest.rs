//! Manifests of data sets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waxwork_data::Manifest;
use waxwork_fuzz::seed;

fuzz_target!(
    init: {
        for manifest in Manifest::all().unwrap() {
            seed("manifest", &manifest.name, toml::to_string(&manifest).unwrap().as_bytes());
        }
    },
    |text: &str| {
        if let Ok(manifest) = toml::from_str::<Manifest>(text)
            && let Ok(text) = toml::to_string(&manifest)
        {
            assert_eq!(toml::from_str::<Manifest>(&text).unwrap(), manifest);
        }
    }
);
