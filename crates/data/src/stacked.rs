//! Stacked MNIST (Metz et al. 2017): three grey digits, drawn at random, as the channels of a colour image.
//! Its 1,000 modes are the triples of digits.

use std::fmt;
use std::sync::Arc;

use waxwork_core::hash::sha256;
use waxwork_core::rng::Stream;
use waxwork_core::{ImageShape, Kind};

use crate::manifest::Manifest;
use crate::parts::Parts;
use crate::{Dataset, DatasetInfo, Error, Factor, Result, Source, Split};

/// The name of the data set.
pub const NAME: &str = "stacked-mnist";
/// The number of images in a stack.
pub const CHANNELS: usize = 3;
/// The number of digits that a channel can show.
pub const DIGITS: u32 = 10;
/// Increase this whenever the choice of images changes.
const VERSION: u32 = 2;
/// The factor names of the digits of a stack.
const NAMES: [&str; CHANNELS] = ["red", "green", "blue"];

/// Stacks of images of a split of grey images, in which stack i is a function of a seed and i.
pub struct Stacked {
    images: Split,
    shape: ImageShape,
    draws: Stream,
    count: usize,
}

impl fmt::Debug for Stacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stacked({} of {} images)", self.count, self.images.len())
    }
}

impl Stacked {
    /// `count` stacks of `images`. `part` names the part of the data set; each part has its own draws.
    ///
    /// # Errors
    /// [`Error::Config`] if the samples are not grey images, or there are none.
    pub fn new(images: Split, part: &str, seed: u64, count: usize) -> Result<Self> {
        let shape = images.kind().image().filter(|shape| shape.channels == 1 && !images.is_empty());
        let Some(ImageShape { height, width, .. }) = shape else {
            let reason = format!("only grey images can be stacked, not {}", images.kind());
            return Err(Error::Config { key: "data", reason });
        };
        let draws = Stream::new(seed, &format!("data/stacked/{part}"), 0);
        Ok(Self { images, shape: ImageShape::new(CHANNELS, height, width), draws, count })
    }

    /// The positions of the images of a stack.
    fn of(&self, index: usize) -> Result<[usize; CHANNELS]> {
        if index >= self.count {
            return Err(Error::OutOfRange { index, len: self.count });
        }
        let (mut draws, all) = (self.draws.at(index as u64), self.images.len() as u32);
        Ok(std::array::from_fn(|_| draws.below(all) as usize))
    }
}

impl Source for Stacked {
    fn kind(&self) -> Kind {
        Kind::Image(self.shape)
    }

    fn len(&self) -> usize {
        self.count
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let size = self.shape.height * self.shape.width;
        for (image, channel) in self.of(index)?.into_iter().zip(out.chunks_exact_mut(size)) {
            self.images.write_sample(image, channel)?;
        }
        Ok(())
    }

    /// A stack has no class of its own.
    fn label(&self, _index: usize) -> Option<u32> {
        None
    }

    /// The three digits.
    fn factors(&self, index: usize) -> Vec<Factor> {
        let Ok(images) = self.of(index) else { return Vec::new() };
        let digits: Option<Vec<u32>> = images.iter().map(|&image| self.images.label(image)).collect();
        let named = digits.into_iter().flatten().zip(NAMES);
        named.map(|(digit, name)| Factor::kind(name, digit, DIGITS)).collect()
    }
}

/// Stacks the images of a data set, according to the manifest of the stacks. The first result stacks its
/// training images and its test images; the second has its validation images in place of the training images.
pub(crate) fn stack(manifest: &Manifest, images: &Dataset, seed: u64) -> Result<[Parts; 2]> {
    let identity = format!("waxwork-data stacked version {VERSION} seed {seed} of {}", images.info.identity);
    let identity = sha256(identity.as_bytes());
    let test: Arc<dyn Source> = Arc::new(Stacked::new(images.test.clone(), "test", seed, manifest.test)?);
    let parts = |of: &Split| -> Result<Parts> {
        let train = Stacked::new(of.clone(), "train", seed, manifest.train)?;
        Ok(Parts { train: Arc::new(train), test: Arc::clone(&test), identity: identity.clone() })
    };
    Ok([parts(&images.train)?, parts(&images.validation)?])
}

/// The channels of the images of a split, one after the other, as grey images. Their labels are the digits, if
/// the split has them.
///
/// # Errors
/// [`Error::NotImages`] if the samples are not images with three channels.
pub fn channels(images: &Split) -> Result<Split> {
    match images.kind().image() {
        Some(ImageShape { channels: CHANNELS, height, width }) => Split::all(Arc::new(Channels {
            images: images.clone(),
            shape: ImageShape::new(1, height, width),
        })),
        _ => Err(Error::NotImages { dataset: NAME.to_owned() }),
    }
}

/// The channels of the images of a data set, with the digits as classes: the training data of a judge of
/// digits.
///
/// # Errors
/// As [`channels`].
pub fn digits(data: &Dataset) -> Result<Dataset> {
    let classes: Vec<String> = (0..DIGITS).map(|digit| digit.to_string()).collect();
    let (train, validation) = (channels(&data.train)?, channels(&data.validation)?);
    let identity = sha256(format!("waxwork-data channels of {}", data.info.identity).as_bytes());
    let info = DatasetInfo::new(&data.info.name, train.kind().clone(), &classes, identity);
    Ok(Dataset { info, train, validation, test: channels(&data.test)?, notes: Vec::new() })
}

struct Channels {
    images: Split,
    shape: ImageShape,
}

impl Source for Channels {
    fn kind(&self) -> Kind {
        Kind::Image(self.shape)
    }

    fn len(&self) -> usize {
        self.images.len() * CHANNELS
    }

    fn write_sample(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let size = self.shape.len();
        let mut image = vec![0; size * CHANNELS];
        self.images.write_sample(index / CHANNELS, &mut image)?;
        let start = index % CHANNELS * size;
        out.copy_from_slice(&image[start..start + size]);
        Ok(())
    }

    fn label(&self, index: usize) -> Option<u32> {
        let factors = self.images.factors_at(index / CHANNELS);
        factors.get(index % CHANNELS).map(|factor| factor.value as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InMemory;

    /// Twenty images of one pixel, whose value is 10 times their number, and whose label is its last digit.
    fn pixels() -> Split {
        let labels = (0..20u32).map(|number| number % 10).collect();
        let bytes = (0..20u8).map(|number| 10 * number).collect();
        let images = InMemory::new(ImageShape::new(1, 1, 1), bytes, Some(labels)).unwrap();
        Split::all(Arc::new(images)).unwrap()
    }

    fn bytes(source: &dyn Source, index: usize) -> Vec<u8> {
        let mut out = vec![0; source.kind().bytes()];
        source.write_sample(index, &mut out).unwrap();
        out
    }

    #[test]
    fn a_stack_is_three_images_and_a_function_of_seed_part_and_number() {
        let stacked = |part: &str, seed: u64| Stacked::new(pixels(), part, seed, 5000).unwrap();
        let train = stacked("train", 0);
        assert_eq!((train.len(), train.kind().bytes()), (5000, 3));
        let all: Vec<Vec<u8>> = (0..5000).map(|index| bytes(&train, index)).collect();
        for (index, stack) in all.iter().enumerate() {
            let digits: Vec<f32> = train.factors(index).iter().map(|factor| factor.value).collect();
            let expected: Vec<f32> = stack.iter().map(|byte| f32::from(byte / 10 % 10)).collect();
            assert_eq!(digits, expected);
        }
        // Every mode has about five stacks; 1,000 e⁻⁵, about 7, have none.
        let mut modes: Vec<Vec<u8>> =
            all.iter().map(|stack| stack.iter().map(|byte| byte / 10 % 10).collect()).collect();
        modes.sort();
        modes.dedup();
        assert!(modes.len() > 970, "{}", modes.len());
        let again = stacked("train", 0);
        assert!((0..100).all(|index| bytes(&again, index) == all[index]));
        for other in [stacked("test", 0), stacked("train", 1)] {
            assert!((0..100).any(|index| bytes(&other, index) != all[index]));
        }
        assert!(train.write_sample(5000, &mut [0; 3]).is_err() && train.factors(5000).is_empty());
        let stacks = Split::all(Arc::new(train)).unwrap();
        assert!(Stacked::new(stacks, "train", 0, 3).is_err(), "stacks cannot be stacked");
    }

    #[test]
    fn channels_are_the_stacked_images_with_their_digits() {
        let stacked: Arc<dyn Source> = Arc::new(Stacked::new(pixels(), "train", 0, 30).unwrap());
        let some = Split::select(stacked.clone(), vec![7, 3]).unwrap();
        let channels = channels(&some).unwrap();
        assert_eq!(channels.len(), 6);
        let expected = [bytes(&*stacked, 7), bytes(&*stacked, 3)].concat();
        assert_eq!(channels.bytes(&[0, 1, 2, 3, 4, 5]).unwrap(), expected);
        let digits: Vec<u32> = expected.iter().map(|byte| u32::from(byte / 10 % 10)).collect();
        assert_eq!(channels.labels().unwrap(), digits);
        assert!(super::channels(&pixels()).is_err());
    }

    /// The pixels as a data set: all but the last two are for training, and all are for testing.
    fn dataset() -> Dataset {
        let all = pixels();
        let info = DatasetInfo::new("pixels", all.kind().clone(), &[], "pixels");
        let [train, validation] = [(0..18).collect::<Vec<usize>>(), vec![18, 19]].map(|some| all.at(&some));
        Dataset { info, train, validation, test: all, notes: Vec::new() }
    }

    #[test]
    fn validation_stacks_share_no_image_with_training_stacks() {
        let [train, validation] = stack(&Manifest::find(NAME).unwrap(), &dataset(), 0).unwrap();
        assert_eq!(train.identity, validation.identity);
        let shown = |source: &dyn Source| {
            let mut bytes: Vec<u8> = (0..1000).flat_map(|index| bytes(source, index)).collect();
            bytes.sort_unstable();
            bytes.dedup();
            bytes
        };
        let all: Vec<u8> = (0..20).map(|number| 10 * number).collect();
        assert_eq!([shown(&*train.train), shown(&*validation.train)].concat(), all);
        assert_eq!(shown(&*train.test), all);
        assert_eq!(shown(&*validation.test), all);
    }

    #[test]
    fn a_data_set_of_stacks_gives_one_of_digits() {
        let manifest = Manifest::find(NAME).unwrap();
        let parts = |seed: u64| {
            let [parts, _] = stack(&manifest, &dataset(), seed).unwrap();
            parts
        };
        let Parts { train, test, identity } = parts(0);
        assert_ne!(identity, parts(1).identity);
        let info = DatasetInfo::new(NAME, train.kind(), &[], identity.clone());
        let data = Dataset::new(info, train, test, Some(1000), None).unwrap();
        let digits = digits(&data).unwrap();
        let sizes = (digits.train.len(), digits.validation.len(), digits.test.len());
        assert_eq!(sizes, (3 * 127_000, 3 * 1000, 3 * 26_000));
        assert_eq!(digits.info.classes.len(), 10);
        assert_ne!(digits.info.identity, identity);
        let batch = digits.train.batch(&[0, 1], &waxwork_core::Device::Cpu).unwrap();
        assert_eq!(batch.inputs.dims(), [2, 1, 1, 1]);
        assert!(batch.condition.class().is_some());
    }
}
