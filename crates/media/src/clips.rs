//! Clips as animations: a grid in which all clips play at once, as an animated PNG, a GIF or Y4M video; and
//! each clip as a strip of its frames.

use candle_core::{DType, Tensor};

use crate::grid::{self, Picture};
use crate::{Error, Result};

/// Frames per second.
pub const RATE: u16 = 8;

/// Pictures of one size, shown one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Animation {
    frames: Vec<Picture>,
}

/// Lays out clips `(N, T, C, H, W)` in [0, 1] as a grid with `columns` clips per row that plays them all.
///
/// # Errors
/// If the tensor is not a batch of clips of grey or RGB frames, or is empty.
pub fn animation(clips: &Tensor, columns: usize) -> Result<Animation> {
    let (_, frames, ..) = dims(clips)?;
    let frames = (0..frames).map(|frame| grid::grid(&clips.narrow(1, frame, 1)?.squeeze(1)?, columns));
    Ok(Animation { frames: frames.collect::<Result<_>>()? })
}

/// One clip `(T, C, H, W)` as a strip: its frames next to each other, without gaps.
///
/// # Errors
/// As [`animation`].
pub fn strip(clip: &Tensor) -> Result<Picture> {
    let (_, frames, channels, height, width) = dims(&clip.unsqueeze(0)?)?;
    let strip = clip.permute((1, 2, 0, 3))?.contiguous()?;
    grid::single(&strip.reshape((channels, height, frames * width))?)
}

fn dims(clips: &Tensor) -> Result<(usize, usize, usize, usize, usize)> {
    match *clips.dims() {
        [n, frames, channels, height, width] if n * frames > 0 => Ok((n, frames, channels, height, width)),
        _ => Err(Error::Shape {
            what: "a grid of clips",
            expected: "(N, T, 1 or 3, H, W) with N and T > 0",
            found: clips.shape().clone(),
        }),
    }
}

impl Animation {
    /// The frame that stands for all, where nothing may move: the first one.
    pub fn still(&self) -> Picture {
        // An animation has at least one frame.
        self.frames.first().cloned().unwrap_or(Picture {
            width: 0,
            height: 0,
            channels: 1,
            pixels: Vec::new(),
        })
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// False: an animation has frames.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Encodes an animated PNG, which repeats for ever. Programs that know no animation show the first frame.
    ///
    /// # Errors
    /// If the size does not fit a PNG file.
    pub fn apng(&self) -> Result<Vec<u8>> {
        let first = self.still();
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, first.width as u32, first.height as u32);
        let grey = first.channels == 1;
        encoder.set_color(if grey { png::ColorType::Grayscale } else { png::ColorType::Rgb });
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_animated(self.frames.len() as u32, 0)?;
        encoder.set_frame_delay(1, RATE)?;
        let mut writer = encoder.write_header()?;
        for frame in &self.frames {
            writer.write_image_data(&frame.pixels)?;
        }
        writer.finish()?;
        Ok(bytes)
    }

    /// Encodes a GIF, which repeats for ever. Each frame has at most 256 colours; frames with more lose some.
    ///
    /// # Errors
    /// If a side is longer than 65,535 pixels.
    pub fn gif(&self) -> Result<Vec<u8>> {
        let first = self.still();
        let side = |side: usize| u16::try_from(side).map_err(|_| Error::Gif { side });
        let (width, height) = (side(first.width)?, side(first.height)?);
        let mut bytes = Vec::new();
        let mut encoder = gif::Encoder::new(&mut bytes, width, height, &[])?;
        encoder.set_repeat(gif::Repeat::Infinite)?;
        for frame in &self.frames {
            // Speed 10 of 1 to 30 is what the crate recommends.
            let mut frame = gif::Frame::from_rgb_speed(width, height, &frame.rgb(), 10);
            frame.delay = 100 / RATE;
            encoder.write_frame(&frame)?;
        }
        drop(encoder);
        Ok(bytes)
    }

    /// The frames as YUV4MPEG2 video with full chroma (4:4:4), which ffmpeg and other programs read. Colours
    /// are those of BT.601 with limited range.
    pub fn y4m(&self) -> Vec<u8> {
        let first = self.still();
        let head = format!("YUV4MPEG2 W{} H{} F{RATE}:1 Ip A1:1 C444\n", first.width, first.height);
        let mut bytes = head.into_bytes();
        for frame in &self.frames {
            bytes.extend_from_slice(b"FRAME\n");
            let rgb = frame.rgb();
            let (pixels, _) = rgb.as_chunks::<3>();
            for [from_red, from_green, from_blue, base] in [
                [65.481, 128.553, 24.966, 16.0],
                [-37.797, -74.203, 112.0, 128.0],
                [112.0, -93.786, -18.214, 128.0],
            ] {
                bytes.extend(pixels.iter().map(|&[red, green, blue]| {
                    let [red, green, blue] = [red, green, blue].map(|value| f64::from(value) / 255.0);
                    (base + from_red * red + from_green * green + from_blue * blue).round() as u8
                }));
            }
        }
        bytes
    }
}

/// Clips `(N, T, C, H, W)` → their first frames, `(N, C, H, W)`, for views that cannot move.
///
/// # Errors
/// As [`animation`].
pub fn first_frames(clips: &Tensor) -> Result<Tensor> {
    dims(clips)?;
    Ok(clips.narrow(1, 0, 1)?.squeeze(1)?.to_dtype(DType::F32)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Three clips of four frames of 2×3 RGB pixels, with values of eight bits.
    fn clips() -> (Tensor, Vec<u8>) {
        let bytes: Vec<u8> = (0..216u32).map(|value| (value * 7 % 256) as u8).collect();
        let values: Vec<f32> = bytes.iter().map(|value| f32::from(*value) / 255.0).collect();
        (Tensor::from_vec(values, (3, 4, 3, 2, 3), &Device::Cpu).unwrap(), bytes)
    }

    #[test]
    fn an_animated_png_has_every_frame() {
        let (clips, bytes) = clips();
        let animation = animation(&clips, 3).unwrap();
        let file = animation.apng().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let control = *reader.info().animation_control().unwrap();
        assert_eq!((control.num_frames, control.num_plays), (4, 0));
        let still = animation.still();
        for frame in 0..4 {
            let mut pixels = vec![0; still.pixels.len()];
            reader.next_frame(&mut pixels).unwrap();
            // The second clip begins after its neighbour of three columns and two gaps of two.
            for channel in 0..3 {
                let at = ((2 + 1) * still.width + 7 + 2) * 3 + channel;
                let source = 72 + frame * 18 + channel * 6 + 3 + 2;
                assert_eq!(pixels[at], bytes[source], "frame {frame}, channel {channel}");
            }
        }
    }

    /// One clip of twelve frames of 2×3 grey pixels, and the grey value of each frame.
    fn ramp() -> (Tensor, Vec<u8>) {
        let greys: Vec<u8> = (0..12).map(|time| 5 + 20 * time).collect();
        let values: Vec<f32> = greys.iter().flat_map(|grey| [f32::from(*grey) / 255.0; 6]).collect();
        (Tensor::from_vec(values, (1, 12, 1, 2, 3), &Device::Cpu).unwrap(), greys)
    }

    /// The decoder gives the pixels and the delays that were encoded, and no more frames.
    #[test]
    fn an_animated_png_gives_back_what_was_written() {
        for clips in [clips().0, ramp().0] {
            let animation = animation(&clips, 2).unwrap();
            let file = animation.apng().unwrap();
            let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
            assert_eq!(reader.info().animation_control().unwrap().num_frames as usize, animation.len());
            for (number, frame) in animation.frames.iter().enumerate() {
                let mut pixels = vec![0; frame.pixels.len()];
                reader.next_frame(&mut pixels).unwrap();
                assert_eq!(pixels, frame.pixels, "frame {number}");
                let control = reader.info().frame_control().unwrap();
                assert_eq!((control.delay_num, control.delay_den), (1, RATE), "frame {number}");
                assert_eq!((control.width as usize, control.height as usize), (frame.width, frame.height));
            }
            let mut more = vec![0; animation.still().pixels.len()];
            assert!(reader.next_frame(&mut more).is_err());
        }
    }

    /// Each frame has its own grey value, which shows where each writer puts it.
    #[test]
    fn every_writer_keeps_the_order_of_frames() {
        let (clips, greys) = ramp();
        let strip = strip(&clips.get(0).unwrap()).unwrap();
        for row in strip.pixels.chunks_exact(strip.width) {
            assert_eq!(row, greys.iter().flat_map(|grey| [*grey; 3]).collect::<Vec<_>>());
        }
        let animation = animation(&clips, 1).unwrap();
        // The middle of the clip, behind the gap of two pixels.
        let (width, height) = (animation.still().width, animation.still().height);
        let middle = 2 * width + 3;
        let shown: Vec<u8> = animation.frames.iter().map(|frame| frame.pixels[middle]).collect();
        assert_eq!(shown, greys);

        let file = animation.gif().unwrap();
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(file.as_slice()).unwrap();
        let mut shown = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            assert_eq!((frame.delay, frame.buffer.len()), (100 / RATE, 4 * width * height));
            shown.push(frame.buffer[4 * middle]);
        }
        assert_eq!(shown, greys);

        let file = animation.y4m();
        let head = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let frames = file[head..].chunks_exact(6 + 3 * width * height);
        assert!(frames.len() == greys.len() && frames.remainder().is_empty());
        for (frame, grey) in frames.zip(greys) {
            assert!(frame.starts_with(b"FRAME\n"));
            let luma = (16.0 + 219.0 * f64::from(grey) / 255.0).round() as u8;
            assert!(frame[6 + middle].abs_diff(luma) <= 1, "{} is not {luma}", frame[6 + middle]);
        }
        let first = first_frames(&clips).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(first, [5.0 / 255.0; 6]);
    }

    #[test]
    fn a_strip_has_frames_next_to_each_other() {
        let (clips, bytes) = clips();
        let strip = strip(&clips.get(1).unwrap()).unwrap();
        assert_eq!((strip.width, strip.height, strip.channels), (12, 2, 3));
        for (frame, row, column, channel) in [(0, 0, 0, 0), (2, 1, 2, 1), (3, 0, 1, 2)] {
            let at = (row * 12 + frame * 3 + column) * 3 + channel;
            assert_eq!(strip.pixels[at], bytes[72 + frame * 18 + channel * 6 + row * 3 + column]);
        }
    }

    #[test]
    fn a_gif_has_every_frame() {
        let (clips, _) = clips();
        let file = animation(&clips, 2).unwrap().gif().unwrap();
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(file.as_slice()).unwrap();
        assert_eq!((decoder.width(), decoder.height()), (12, 10));
        let mut frames = 0;
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            // The corner is a gap, whose colour is kept.
            assert!(frame.buffer[0].abs_diff(64) < 8, "{}", frame.buffer[0]);
            frames += 1;
        }
        assert_eq!(frames, 4);
    }

    /// White, black and red of BT.601: (235, 128, 128), (16, 128, 128), (81, 90, 240).
    #[test]
    fn video_has_the_colours_of_the_standard() {
        let colours = [[1f32, 1.0, 1.0], [0.0; 3], [1.0, 0.0, 0.0]];
        let planes: Vec<f32> = (0..3).flat_map(|channel| colours.map(|colour| colour[channel])).collect();
        let clip = Tensor::from_vec(planes, (1, 1, 3, 1, 3), &Device::Cpu).unwrap();
        let file = animation(&clip, 1).unwrap().y4m();
        let head = b"YUV4MPEG2 W7 H5 F8:1 Ip A1:1 C444\nFRAME\n";
        assert!(file.starts_with(head) && file.len() == head.len() + 3 * 35);
        let plane = |number: usize| &file[head.len() + number * 35 + 2 * 7 + 2..][..3];
        assert_eq!(
            (plane(0), plane(1), plane(2)),
            (&[235, 16, 81][..], &[128, 128, 90][..], &[128, 128, 240][..])
        );
    }

    #[test]
    fn what_is_no_batch_of_clips_is_refused() {
        let images = Tensor::zeros((2, 3, 4, 4), DType::F32, &Device::Cpu).unwrap();
        assert!(animation(&images, 2).is_err() && first_frames(&images).is_err());
    }
}
