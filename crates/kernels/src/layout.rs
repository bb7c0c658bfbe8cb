//! Conversion between channels-first and channels-last layout.

use std::mem::MaybeUninit;

use crate::float::Float;
use crate::simd::simd;

/// The place of a pixel that is not used.
pub(crate) const NOWHERE: usize = usize::MAX;

/// Copies planes to channels-last layout: one plane per channel, `plane` elements apart; pixel i of channel c
/// goes to `places[i] + c`.
///
/// Four planes are read side by side from start to end, which suits hardware prefetching.
pub(crate) fn channels_last<T: Float>(
    planes: &[T],
    plane: usize,
    channels: usize,
    places: &[usize],
    to: &mut [T],
) {
    simd(
        #[inline(always)]
        || {
            for channel in (0..channels).step_by(4) {
                let row = |r: usize| &planes[(channel + r) * plane..][..places.len()];
                let rows = [row(0), row(1), row(2), row(3)];
                let fours = places.len() / 4;
                for (i, places) in places.as_chunks::<4>().0.iter().enumerate() {
                    let block = [
                        load4(rows[0], 4 * i),
                        load4(rows[1], 4 * i),
                        load4(rows[2], 4 * i),
                        load4(rows[3], 4 * i),
                    ];
                    for (run, &place) in transposed(block).into_iter().zip(places) {
                        if place != NOWHERE {
                            to[place + channel..][..4].copy_from_slice(&run);
                        }
                    }
                }
                for i in 4 * fours..places.len() {
                    if places[i] != NOWHERE {
                        let run = [rows[0][i], rows[1][i], rows[2][i], rows[3][i]];
                        to[places[i] + channel..][..4].copy_from_slice(&run);
                    }
                }
            }
        },
    );
}

/// The inverse of [`channels_last`]. A pixel whose place is [`NOWHERE`] becomes 0.
pub(crate) fn channels_first<T: Float>(
    from: &[T],
    places: &[usize],
    channels: usize,
    plane: usize,
    planes: &mut [MaybeUninit<T>],
) {
    simd(
        #[inline(always)]
        || {
            for channel in (0..channels).step_by(4) {
                let run = |place: usize| {
                    if place == NOWHERE { [T::ZERO; 4] } else { load4(from, place + channel) }
                };
                let (fours, rest) = places.as_chunks::<4>();
                let planes = &mut planes[channel * plane..];
                for (i, places) in fours.iter().enumerate() {
                    let block = [run(places[0]), run(places[1]), run(places[2]), run(places[3])];
                    for (r, four) in transposed(block).into_iter().enumerate() {
                        let to = &mut planes[r * plane + 4 * i..][..4];
                        for (to, x) in to.iter_mut().zip(four) {
                            to.write(x);
                        }
                    }
                }
                for (i, &place) in (4 * fours.len()..).zip(rest) {
                    for (r, x) in run(place).into_iter().enumerate() {
                        planes[r * plane + i].write(x);
                    }
                }
            }
        },
    );
}

#[inline(always)]
fn load4<T: Float>(from: &[T], at: usize) -> [T; 4] {
    let from = &from[at..at + 4];
    [from[0], from[1], from[2], from[3]]
}

#[inline(always)]
fn transposed<T: Copy>([a, b, c, d]: [[T; 4]; 4]) -> [[T; 4]; 4] {
    [[a[0], b[0], c[0], d[0]], [a[1], b[1], c[1], d[1]], [a[2], b[2], c[2], d[2]], [a[3], b[3], c[3], d[3]]]
}
