//! Labels reach the generators of conditional GANs.

use waxwork_core::{Device, ImageShape, ParamSet, SampleRequest};
use waxwork_families::ModelConfig;

/// Linear layers have no batch norm that depends on the label, so the label is concatenated with the latent.
#[test]
fn labels_by_projection_reach_generators_of_linear_layers() {
    for generator in
        [r#"{ "kind": "mlp", "hidden": [8] }"#, r#"{ "kind": "mlp", "hidden": [8], "batch_norm": true }"#]
    {
        let config = format!(
            r#"{{ "family": "cgan", "latent_dim": 3, "conditioning": {{ "kind": "projection" }},
                "generator": {generator}, "discriminator": {{ "kind": "mlp", "hidden": [8] }} }}"#
        );
        let config: ModelConfig = serde_json::from_str(&config).unwrap();
        let image = ImageShape { channels: 1, height: 4, width: 4 };
        let model = config.build(image, 2, ParamSet::fresh(0, &Device::Cpu)).unwrap();
        let samples = |label: u32| {
            let samples = model.sample(&SampleRequest::of_classes(0, &[label]).unwrap()).unwrap();
            samples.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_ne!(samples(0), samples(1), "{generator}");
    }
}
