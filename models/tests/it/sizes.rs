//! Networks of kind `tower` fit themselves to images of any size.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

use waxwork_core::onnx::Part;
use waxwork_core::optim::OptimizerConfig;
use waxwork_core::rng::Stream;
use waxwork_core::{
    Batch, Condition, Device, Error, GenerativeModel, ImageShape, ParamSet, SampleRequest, TrainingState,
};
use waxwork_models::ModelConfig;

const SIZES: [(usize, usize, usize); 8] = [
    (1, 7, 9),
    (1, 28, 28),
    (3, 32, 32),
    (3, 48, 48),
    (3, 40, 64),
    (1, 64, 64),
    (3, 100, 100),
    (3, 128, 128),
];

const FAMILIES: [&str; 3] = [
    r#"family="gan"
generator={kind="tower",width=4,blocks=1}
discriminator={kind="tower",width=4,blocks=1}
loss="relativistic"
penalty={kind="r1-r2",weight=0.1}"#,
    r#"family="cgan"
conditioning={kind="projection"}
generator={kind="tower",width=4,detail=3}
discriminator={kind="tower",width=4,blocks=1,norm="spectral"}"#,
    r#"family="vae"
network={kind="tower",width=4,blocks=1,hidden=16,batch_norm=true}"#,
];

fn build(model: &str, image: ImageShape) -> Result<Box<dyn GenerativeModel>, Error> {
    let config: ModelConfig = toml::from_str(&format!("latent_dim=4\n{model}")).unwrap();
    config.build(image, 3, ParamSet::fresh(1, &Device::Cpu))
}

#[test]
fn networks_fit_themselves_to_images_of_any_size() {
    for (channels, height, width) in SIZES {
        let image = ImageShape::new(channels, height, width);
        for family in FAMILIES {
            let model = build(family, image).unwrap();
            let draws = Stream::new(1, "pixels", 0);
            let pixels = draws.uniform(&[0, 1, 2], (channels, height, width), &Device::Cpu).unwrap();
            let condition = Condition::classes(&[0, 1, 2]).unwrap();
            let batch = Batch { condition, ..Batch::unlabelled(pixels, vec![0, 1, 2]) };
            let mut state = TrainingState::new(model.as_ref(), OptimizerConfig::default(), 0, 2).unwrap();
            let report = state.step(model.as_ref(), &batch).unwrap();
            assert!(report.scalars.iter().all(|(_, value)| value.is_finite()), "{family} {image}");
            let samples = model.sample(&SampleRequest::new(0, 2)).unwrap();
            assert_eq!(samples.dims(), [2, channels, height, width], "{family}");
            let part = if family.contains("vae") { Part::Decoder } else { Part::Generator };
            model.graph(part).unwrap();
        }
    }
}

#[test]
fn images_that_are_too_small_are_refused_by_name_of_the_key() {
    for family in FAMILIES {
        let error = build(family, ImageShape::new(1, 6, 30)).err().unwrap();
        assert!(matches!(&error, Error::Config { reason, .. } if reason.contains("7×7")), "{error}");
    }
}
