//! Arrays that another program made. Only this module decides what their types, ranges and shapes mean.
//!
//! | images of | mean |
//! |---|---|
//! | booleans (read as the floats 0 and 1) | 0 black, 1 full intensity |
//! | u8 | divided by 255; refused if the largest value is 1, since that may be black and white or two shades of black |
//! | floats from 0 to 1 | as they are |
//! | anything else | an error that says what was found and what to save instead |
//!
//! Nothing here guesses: NaN, values in [−1, 1] and floats from 0 to 255 are errors.

use waxwork_core::{DType, Device, ImageShape, Kind, Tensor, values};
use waxwork_data::text::END;

use crate::Result;

/// Floats outside of [0, 1] by at most this count as rounding errors and are clamped.
const ROUNDING: f32 = 1e-3;

/// Why an array is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArrayError {
    /// An array with an unsupported shape.
    #[error("{what} must be {expected}, but its shape is {found:?}")]
    Shape {
        /// What the array should hold.
        what: &'static str,
        /// The supported shapes, in words.
        expected: String,
        /// Its shape.
        found: Vec<usize>,
    },

    /// An unsupported number type.
    #[error("its {what} have the type {found:?}: {advice}")]
    Type {
        /// What the array should hold.
        what: &'static str,
        /// The type of its numbers.
        found: DType,
        /// What to save instead.
        advice: &'static str,
    },

    /// Floats outside of [0, 1].
    #[error("its values range from {least} to {most}, but images must be in [0, 1]: {advice}")]
    Range {
        /// The smallest value.
        least: f32,
        /// The largest value.
        most: f32,
        /// What the values may be, and how to bring them into [0, 1].
        advice: &'static str,
    },

    /// Waveforms that are louder than full scale.
    #[error(
        "its values range from {least} to {most}, but sounds must be in [-1, 1]: divide by 32768 if they are 16-bit integers"
    )]
    Loud {
        /// The smallest value.
        least: f32,
        /// The largest value.
        most: f32,
    },

    /// 8-bit values that are all 0 or 1.
    #[error(
        "its 8-bit values are all 0 or 1, which may be black and white or two shades of black: save black and white as \
         booleans or as floats"
    )]
    ZeroOrOne,

    /// A label outside of the classes.
    #[error("image {image} has the label {label}, but the labels are 0 to {}", classes.saturating_sub(1))]
    Label {
        /// The image, counted from 0.
        image: usize,
        /// Its label.
        label: f64,
        /// Number of classes.
        classes: usize,
    },

    /// A token outside of the vocabulary.
    #[error("text {text} has the token {token}, but the tokens are 0 to {}", vocabulary.saturating_sub(1))]
    Token {
        /// The text, counted from 0.
        text: usize,
        /// Its token.
        token: f64,
        /// Number of tokens.
        vocabulary: usize,
    },

    /// A row of labels that is not one-hot.
    #[error(
        "the labels of image {image} are not one-hot: give one class number per image, or rows with a single 1"
    )]
    OneHot {
        /// The image, counted from 0.
        image: usize,
    },

    /// The numbers of labels and images differ.
    #[error("{labels} labels for {images} images")]
    Count {
        /// Number of labels.
        labels: usize,
        /// Number of images.
        images: usize,
    },
}

/// The kind of an array's samples, by its shape alone: `(N, H, W)`, and `(N, H, W, C)` or `(N, C, H, W)` with
/// 1 or 3 channels, are images; `(N, T, C, H, W)` and `(N, T, H, W, C)` are clips; `(N, D)` are points.
///
/// # Errors
/// [`crate::Error::Array`] for another shape, or for an array without samples.
pub fn kind_of(array: &Tensor) -> Result<Kind> {
    let image = |channels, height, width| Ok(ImageShape::new(channels, height, width).into());
    match *array.dims() {
        [n, height, width] if n * height * width > 0 => image(1, height, width),
        [n, height, width, channels @ (1 | 3)] if n * height * width > 0 => image(channels, height, width),
        [n, channels @ (1 | 3), height, width] if n * height * width > 0 => image(channels, height, width),
        [n, dimensions] if n * dimensions > 0 => Ok(Kind::Points { dimensions }),
        [n, frames, channels @ (1 | 3), height, width] | [n, frames, height, width, channels @ (1 | 3)]
            if n * frames * height * width > 0 =>
        {
            Ok(Kind::Clip { frames, image: ImageShape::new(channels, height, width) })
        }
        _ => {
            let expected =
                "(N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3, (N, T, C, H, W) of clips, or (N, D) of points".to_owned();
            Err(ArrayError::Shape { what: "data", expected, found: array.dims().to_vec() }.into())
        }
    }
}

/// Images of `shape` as f32 in [0, 1], `(N, C, H, W)`, on the CPU. `array` is `(N, C, H, W)`, `(N, H, W, C)`
/// or, for grey images, `(N, H, W)`, with at least one image.
///
/// # Errors
/// [`crate::Error::Array`] with what was found and what to save instead; [`waxwork_core::Error::Value`] with
/// the index of a NaN.
pub fn images(array: &Tensor, shape: ImageShape) -> Result<Tensor> {
    let images = checked(array, shape)?;
    if images.dtype() != DType::U8 {
        return Ok(images);
    }
    // A true division, as for the images of a data set.
    let unit = |bytes: &[u8]| bytes.iter().map(|&value| f32::from(value) / 255.0).collect::<Vec<f32>>();
    let unit = values::read(&images, unit)?;
    Ok(Tensor::from_vec(unit, images.dims(), &Device::Cpu).map_err(waxwork_core::Error::from)?)
}

/// The same images as 8-bit values, channels first: the precision at which samples are measured.
///
/// # Errors
/// As for [`images`].
pub fn pixels(array: &Tensor, shape: ImageShape) -> Result<Vec<u8>> {
    let images = checked(array, shape)?;
    if images.dtype() == DType::U8 {
        return Ok(values::read(&images, <[u8]>::to_vec)?);
    }
    let pixels = |values: &[f32]| values.iter().map(|value| (value * 255.0).round() as u8).collect();
    Ok(values::read(&images, pixels)?)
}

/// Points `(N, dimensions)` as f32, on the CPU. Any number type is accepted, as long as the values are
/// finite.
///
/// # Errors
/// [`crate::Error::Array`] for another shape, [`waxwork_core::Error::Value`] for NaN or an infinity.
pub fn points(array: &Tensor, dimensions: usize) -> Result<Tensor> {
    rows_of("points", array, dimensions)
}

/// Samples of `kind` at rest, one after the other ([`Kind::bytes`] each).
///
/// # Errors
/// As for [`images`] and [`points`].
pub fn at_rest(array: &Tensor, kind: &Kind) -> Result<Vec<u8>> {
    match kind {
        Kind::Image(shape) => pixels(array, *shape),
        Kind::Clip { frames, image } => pixels(&frames_of(array, *frames)?, *image),
        Kind::Points { dimensions } => floats_at_rest(&points(array, *dimensions)?),
        Kind::Rows(spec) => floats_at_rest(&rows_of("rows", array, spec.len())?),
        Kind::Sound { length, .. } => {
            let sample =
                |value: f32| (f64::from(value) * 32768.0).round_ties_even().clamp(-32768.0, 32767.0) as i16;
            let bytes = |values: &[f32]| values.iter().flat_map(|&x| sample(x).to_le_bytes()).collect();
            Ok(values::read(&waveforms(array, *length)?, bytes)?)
        }
        Kind::Text { vocabulary, length } => {
            if array.dims().get(1..) == Some(&[*length, *vocabulary]) {
                return Ok(waxwork_data::text::from_tensor(kind, array)?);
            }
            let numbers = tokens(array, *vocabulary, *length)?;
            let texts = numbers.chunks_exact(*length).map(|text| {
                let end = text.iter().position(|token| *token == END).unwrap_or(*length);
                waxwork_data::text::at_rest(&text[..end], *length)
            });
            Ok(texts.flatten().collect())
        }
    }
}

/// The frames of clips `(N, T, ..)`, one after the other.
fn frames_of(array: &Tensor, frames: usize) -> Result<Tensor> {
    match *array.dims() {
        [clips, found, _, _, _] | [clips, found, _, _] if clips > 0 && found == frames => {
            Ok(array.flatten(0, 1).map_err(waxwork_core::Error::from)?)
        }
        _ => {
            let expected =
                format!("(N, {frames}, C, H, W), (N, {frames}, H, W, C) or (N, {frames}, H, W) with N > 0");
            Err(ArrayError::Shape { what: "clips", expected, found: array.dims().to_vec() }.into())
        }
    }
}

/// Token numbers `(N, length)`: whole numbers of any type below `vocabulary`.
fn tokens(array: &Tensor, vocabulary: usize, length: usize) -> Result<Vec<u16>> {
    match *array.dims() {
        [texts, found] if texts > 0 && found == length => {}
        _ => {
            let expected = format!("(N, {length}) of tokens, or (N, {length}, {vocabulary}), with N > 0");
            return Err(ArrayError::Shape { what: "texts", expected, found: array.dims().to_vec() }.into());
        }
    }
    let numbers = flat(&cast(array, DType::F64)?, |x| Ok(x.to_vec1::<f64>()?))?;
    let token = |(place, &token): (usize, &f64)| {
        let known = token >= 0.0 && token < vocabulary as f64 && token.fract() == 0.0;
        let text = place / length;
        if known { Ok(token as u16) } else { Err(ArrayError::Token { text, token, vocabulary }.into()) }
    };
    numbers.iter().enumerate().map(token).collect()
}

/// Samples of `kind` as networks see them, `(N, ..)` f32 on the CPU; for sounds, the waveforms,
/// `(N, 1, 1, length)`, and for texts, token numbers `(N, length)` u32.
///
/// # Errors
/// As for [`images`] and [`points`].
pub fn samples(array: &Tensor, kind: &Kind) -> Result<Tensor> {
    match kind {
        Kind::Image(shape) => images(array, *shape),
        Kind::Clip { frames, image } => {
            let images = images(&frames_of(array, *frames)?, *image)?;
            let ImageShape { channels, height, width } = *image;
            let clips = images.reshape(((), *frames, channels, height, width));
            Ok(clips.map_err(waxwork_core::Error::from)?)
        }
        Kind::Points { dimensions } => points(array, *dimensions),
        Kind::Rows(spec) => rows_of("rows", array, spec.len()),
        Kind::Sound { length, .. } => {
            let waveforms = waveforms(array, *length)?;
            Ok(waveforms.reshape(((), 1, 1, *length)).map_err(waxwork_core::Error::from)?)
        }
        Kind::Text { length, .. } => {
            let numbers = waxwork_data::text::numbers(&at_rest(array, kind)?);
            let numbers = Tensor::from_vec(numbers, ((), *length), &Device::Cpu);
            Ok(numbers.map_err(waxwork_core::Error::from)?)
        }
    }
}

/// Waveforms `(N, length)` as f32 in [−1, 1], on the CPU. Floats are unchanged; 16-bit integers are divided
/// by 32,768.
///
/// # Errors
/// [`crate::Error::Array`] for another shape or type or for louder floats, [`waxwork_core::Error::Value`] for
/// NaN or an infinity.
pub fn waveforms(array: &Tensor, length: usize) -> Result<Tensor> {
    let what = "sounds";
    let flat_dims = match *array.dims() {
        [rows, found] | [rows, 1, found] | [rows, 1, 1, found] if rows > 0 && found == length => rows,
        _ => {
            let expected = format!("(N, {length}) with N > 0");
            return Err(ArrayError::Shape { what, expected, found: array.dims().to_vec() }.into());
        }
    };
    let waves = array.reshape((flat_dims, length)).map_err(waxwork_core::Error::from)?;
    if waves.dtype() == DType::I16 {
        let scaled = to_f32(&waves)?.affine(1.0 / 32768.0, 0.0);
        return Ok(scaled.map_err(waxwork_core::Error::from)?);
    }
    if !waves.dtype().is_float() {
        let advice = "save floats from −1 to 1, or int16";
        return Err(ArrayError::Type { what, found: waves.dtype(), advice }.into());
    }
    let waves = to_f32(&waves)?;
    values::check(what, &waves)?;
    let (least, most) = range(&waves, 0.0, 0.0)?;
    if least < -1.0 - ROUNDING || most > 1.0 + ROUNDING {
        return Err(ArrayError::Loud { least, most }.into());
    }
    Ok(waves)
}

/// Latent vectors `(N, latent_dim)` as f32, on the CPU. Any number type is accepted, as long as the values
/// are finite.
///
/// # Errors
/// [`crate::Error::Array`] for another shape, [`waxwork_core::Error::Value`] for NaN or an infinity.
pub fn latents(array: &Tensor, latent_dim: usize) -> Result<Tensor> {
    rows_of("latents", array, latent_dim)
}

fn floats_at_rest(rows: &Tensor) -> Result<Vec<u8>> {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(values::read(rows, bytes)?)
}

fn rows_of(what: &'static str, array: &Tensor, width: usize) -> Result<Tensor> {
    match *array.dims() {
        [rows, found] if rows > 0 && found == width => {}
        _ => {
            let expected = format!("(N, {width}) with N > 0");
            return Err(ArrayError::Shape { what, expected, found: array.dims().to_vec() }.into());
        }
    }
    let rows = to_f32(array)?;
    values::check(what, &rows)?;
    Ok(rows)
}

/// The labels of `count` images: `(N)` or `(N, 1)` whole numbers from 0 to `classes` − 1, of any type, or
/// one-hot rows `(N, classes)`.
///
/// # Errors
/// [`crate::Error::Array`] names the first image whose label is not a class, or says that the numbers of
/// labels and images differ.
pub fn labels(array: &Tensor, count: usize, classes: usize) -> Result<Vec<u32>> {
    let (rows, width) = match *array.dims() {
        [rows] => (rows, 1),
        [rows, 1] => (rows, 1),
        [rows, width] if width == classes => (rows, width),
        _ => {
            let expected = format!("(N), (N, 1), or one-hot (N, {classes})");
            return Err(ArrayError::Shape { what: "labels", expected, found: array.dims().to_vec() }.into());
        }
    };
    if rows != count {
        return Err(ArrayError::Count { labels: rows, images: count }.into());
    }
    let numbers = flat(&cast(array, DType::F64)?, |x| Ok(x.to_vec1::<f64>()?))?;
    if width == 1 {
        let label = |(image, &label): (usize, &f64)| {
            let known = label >= 0.0 && label < classes as f64 && label.fract() == 0.0;
            if known { Ok(label as u32) } else { Err(ArrayError::Label { image, label, classes }.into()) }
        };
        return numbers.iter().enumerate().map(label).collect();
    }
    let hot = |(image, row): (usize, &[f64])| {
        let one = row.iter().position(|&value| value == 1.0);
        let only = row.iter().filter(|&&value| value != 0.0).count() == 1;
        one.filter(|_| only).map(|class| class as u32).ok_or_else(|| ArrayError::OneHot { image }.into())
    };
    numbers.chunks_exact(width).enumerate().map(hot).collect()
}

/// Images in the order `(N, C, H, W)`, as u8 or as f32 in [0, 1].
fn checked(array: &Tensor, shape: ImageShape) -> Result<Tensor> {
    let array = array.to_device(&Device::Cpu).map_err(waxwork_core::Error::from)?;
    let images = channel_first(&array, shape)?;
    if images.dtype() == DType::U8 {
        // Only zeros are black at any scale, so they are accepted.
        return match values::read(&images, |bytes: &[u8]| bytes.iter().copied().max())? {
            Some(1) => Err(ArrayError::ZeroOrOne.into()),
            _ => Ok(images),
        };
    }
    if !images.dtype().is_float() {
        let advice = "save values of eight bits as uint8, or floats from 0 to 1";
        return Err(ArrayError::Type { what: "images", found: images.dtype(), advice }.into());
    }
    // Report the index that the other program knows.
    values::check("images", &array)?;
    let images = to_f32(&images)?;
    let (least, most) = range(&images, f32::INFINITY, f32::NEG_INFINITY)?;
    if let Some(advice) = advice(least, most) {
        return Err(ArrayError::Range { least, most, advice }.into());
    }
    if least >= 0.0 && most <= 1.0 {
        return Ok(images);
    }
    let clamped = |values: &[f32]| values.iter().map(|value| value.clamp(0.0, 1.0)).collect::<Vec<f32>>();
    let clamped = values::read(&images, clamped)?;
    Ok(Tensor::from_vec(clamped, images.dims(), &Device::Cpu).map_err(waxwork_core::Error::from)?)
}

/// The advice for floats that range from `least` to `most`; None if they are in [0, 1].
fn advice(least: f32, most: f32) -> Option<&'static str> {
    let (low, high) = (-ROUNDING, 1.0 + ROUNDING);
    if least >= low && most <= high {
        None
    } else if least >= -1.0 - ROUNDING && most <= high {
        Some("if −1 is black, save (x + 1) / 2")
    } else if least >= low && most <= 255.0 {
        Some("if 255 is full intensity, divide by 255 or save them as uint8")
    } else {
        Some("scale them, so that 0 is black and 1 full intensity")
    }
}

fn channel_first(array: &Tensor, shape: ImageShape) -> Result<Tensor> {
    let ImageShape { channels, height, width } = shape;
    let turned = match *array.dims() {
        [n, c, h, w] if n > 0 && (c, h, w) == (channels, height, width) => Ok(array.clone()),
        [n, h, w, c] if n > 0 && (c, h, w) == (channels, height, width) => array.permute((0, 3, 1, 2)),
        [n, h, w] if n > 0 && (1, h, w) == (channels, height, width) => array.unsqueeze(1),
        _ => {
            let grey = if channels == 1 { format!(" or (N, {height}, {width})") } else { String::new() };
            let expected = format!(
                "(N, {channels}, {height}, {width}), (N, {height}, {width}, {channels}){grey} with N > 0"
            );
            return Err(ArrayError::Shape { what: "images", expected, found: array.dims().to_vec() }.into());
        }
    };
    Ok(turned.and_then(|turned| turned.contiguous()).map_err(waxwork_core::Error::from)?)
}

/// The smallest value that is at most `least`, and the largest that is at least `most`.
fn range(array: &Tensor, least: f32, most: f32) -> Result<(f32, f32)> {
    let fold = |(least, most): (f32, f32), &value: &f32| (least.min(value), most.max(value));
    Ok(values::read(array, |values: &[f32]| values.iter().fold((least, most), fold))?)
}

fn cast(array: &Tensor, dtype: DType) -> Result<Tensor> {
    let array = array.to_device(&Device::Cpu).map_err(waxwork_core::Error::from)?;
    Ok(array.to_dtype(dtype).map_err(waxwork_core::Error::from)?)
}

fn to_f32(array: &Tensor) -> Result<Tensor> {
    cast(array, DType::F32)
}

fn flat<T>(array: &Tensor, read: fn(&Tensor) -> waxwork_core::Result<Vec<T>>) -> Result<Vec<T>> {
    let flat = array.flatten_all().map_err(waxwork_core::Error::from)?;
    Ok(read(&flat)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: ImageShape = ImageShape::new(1, 1, 2);

    fn grey(values: &[f32]) -> Tensor {
        Tensor::from_vec(values.to_vec(), (values.len() / 2, 1, 1, 2), &Device::Cpu).unwrap()
    }

    fn taken(array: &Tensor) -> Vec<f32> {
        images(array, GREY).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn said(array: &Tensor) -> String {
        let error = images(array, GREY).unwrap_err().to_string();
        assert_eq!(pixels(array, GREY).unwrap_err().to_string(), error);
        error
    }

    #[test]
    fn every_type_has_one_meaning() {
        let eighths = grey(&[0.0, 0.2, 1.0, 0.4]);
        for dtype in [DType::F32, DType::F64] {
            assert_eq!(taken(&eighths.to_dtype(dtype).unwrap()), [0.0, 0.2, 1.0, 0.4]);
        }
        let bytes = grey(&[0.0, 51.0, 255.0, 102.0]).to_dtype(DType::U8).unwrap();
        assert_eq!(taken(&bytes), [0.0, 0.2, 1.0, 0.4]);
        assert_eq!(pixels(&bytes, GREY).unwrap(), [0, 51, 255, 102]);
        assert_eq!(pixels(&eighths, GREY).unwrap(), [0, 51, 255, 102]);
        // A slight excess is rounding.
        assert_eq!(taken(&grey(&[-0.0005, 1.0005])), [0.0, 1.0]);
        // Zeros are black at any scale.
        assert_eq!(taken(&grey(&[0.0, 0.0]).to_dtype(DType::U8).unwrap()), [0.0, 0.0]);
    }

    #[test]
    fn rejects_ambiguous_arrays_and_says_what_to_do() {
        for (values, words) in [
            (
                &[-1.0, 0.5][..],
                "from -1 to 0.5, but images must be in [0, 1]: if −1 is black, save (x + 1) / 2",
            ),
            (
                &[0.0, 254.0],
                "from 0 to 254, but images must be in [0, 1]: if 255 is full intensity, divide by 255",
            ),
            (&[0.0, 1000.0], "from 0 to 1000, but images must be in [0, 1]: scale them"),
            (&[-3.0, 1.0], "from -3 to 1, but images must be in [0, 1]: scale them"),
            (&[0.5, 0.5, 0.5, f32::NAN], "`images` is NaN at [1, 0, 0, 1]: every value must be finite"),
        ] {
            let said = said(&grey(values));
            assert!(said.contains(words), "{said}");
        }
        let binary = grey(&[0.0, 1.0]).to_dtype(DType::U8).unwrap();
        assert!(said(&binary).contains("black and white or two shades of black"), "{}", said(&binary));
        let whole = said(&grey(&[0.0, 255.0]).to_dtype(DType::I64).unwrap());
        assert!(whole.contains("I64") && whole.contains("uint8"), "{whole}");
    }

    #[test]
    fn channels_may_come_last_or_be_left_out() {
        let shape = ImageShape::new(3, 1, 2);
        let first = Tensor::arange(0u8, 6, &Device::Cpu).unwrap().reshape((1, 3, 1, 2)).unwrap();
        let last = first.permute((0, 2, 3, 1)).unwrap();
        assert_eq!(pixels(&first, shape).unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(pixels(&last, shape).unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(taken(&grey(&[0.25, 0.5]).squeeze(1).unwrap()), [0.25, 0.5]);
        for wrong in
            [grey(&[0.0; 2]).narrow(0, 0, 0).unwrap(), grey(&[0.0; 4]).reshape((1, 1, 2, 2)).unwrap()]
        {
            let said = said(&wrong);
            assert!(said.contains("(N, 1, 1, 2), (N, 1, 2, 1) or (N, 1, 2) with N > 0"), "{said}");
        }
        assert!(!images(&grey(&[0.0; 2]), shape).unwrap_err().to_string().contains(" or (N"));
    }

    #[test]
    fn texts_are_tokens_or_rows_of_choices() {
        let kind = Kind::Text { vocabulary: 3, length: 3 };
        let numbers = Tensor::new(&[[2i64, 0, 1], [1, 1, 1]], &Device::Cpu).unwrap();
        // After the end, all tokens are ends.
        let expected = [2, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0];
        let rows = [[[0f32, 0.1, 0.9], [0.5, 0.2, 0.3], [0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]; 3]];
        let rows = Tensor::new(&rows, &Device::Cpu).unwrap();
        for array in [&numbers, &rows] {
            assert_eq!(at_rest(array, &kind).unwrap(), expected);
            let seen = samples(array, &kind).unwrap().to_vec2::<u32>().unwrap();
            assert_eq!(seen, [[2, 0, 0], [1, 1, 1]]);
        }
        let said = |array: &Tensor| at_rest(array, &kind).unwrap_err().to_string();
        let outside = Tensor::new(&[[2u8, 0, 1], [1, 3, 1]], &Device::Cpu).unwrap();
        assert_eq!(said(&outside), "text 1 has the token 3, but the tokens are 0 to 2");
        let wide = said(&Tensor::new(&[[2u8, 0]], &Device::Cpu).unwrap());
        assert!(wide.starts_with("texts must be (N, 3) of tokens, or (N, 3, 3), with N > 0"), "{wide}");
    }

    #[test]
    fn latents_are_any_finite_numbers_of_the_right_length() {
        let given = Tensor::new(&[[-3i64, 100], [0, 7]], &Device::Cpu).unwrap();
        let found = latents(&given, 2).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(found, [[-3.0, 100.0], [0.0, 7.0]]);
        let wide = latents(&given, 3).unwrap_err().to_string();
        assert_eq!(wide, "latents must be (N, 3) with N > 0, but its shape is [2, 2]");
        let infinite = Tensor::new(&[[0f32, f32::INFINITY]], &Device::Cpu).unwrap();
        let infinite = latents(&infinite, 2).unwrap_err().to_string();
        assert_eq!(infinite, "`latents` is inf at [0, 1]: every value must be finite");
    }

    #[test]
    fn labels_are_numbers_in_a_row_or_a_column_or_one_hot() {
        let cpu = &Device::Cpu;
        let row = Tensor::new(&[2i64, 0, 1], cpu).unwrap();
        let hot = Tensor::new(&[[0u8, 0, 1], [1, 0, 0], [0, 1, 0]], cpu).unwrap();
        for array in [
            row.clone(),
            row.unsqueeze(1).unwrap(),
            row.to_dtype(DType::F32).unwrap(),
            hot.clone(),
            hot.to_dtype(DType::F64).unwrap(),
        ] {
            assert_eq!(labels(&array, 3, 3).unwrap(), [2, 0, 1], "{array:?}");
        }
        let said = |array: &Tensor| labels(array, 3, 3).unwrap_err().to_string();
        let outside = said(&Tensor::new(&[0i64, 3, 1], cpu).unwrap());
        assert_eq!(outside, "image 1 has the label 3, but the labels are 0 to 2");
        for (wrong, label) in [(-1.0, "-1"), (0.5, "0.5"), (f64::NAN, "NaN")] {
            let said = said(&Tensor::new(&[0.0, 0.0, wrong], cpu).unwrap());
            assert!(said.starts_with(&format!("image 2 has the label {label},")), "{said}");
        }
        let two = said(&Tensor::new(&[[0f32, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.0]], cpu).unwrap());
        assert!(two.contains("image 1 are not one-hot"), "{two}");
        assert_eq!(said(&Tensor::new(&[0i64, 1], cpu).unwrap()), "2 labels for 3 images");
        let wide = said(&Tensor::new(&[[0i64, 1]], cpu).unwrap());
        assert_eq!(wide, "labels must be (N), (N, 1), or one-hot (N, 3), but its shape is [1, 2]");
    }
}
