//! Mirror images at the edges of a line that moves.

/// The pixels of a line of `size` that nothing moves to if it moves by `by`, which is less, each with the pixel
/// that it mirrors. The edge itself is not repeated.
pub(crate) fn mirrored(by: isize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let distance = by.unsigned_abs();
    let last = size.saturating_sub(1);
    (0..distance).map(move |i| {
        // The i-th filled pixel from the edge of the moved line outwards is its i-th neighbour inwards.
        let (at, source) = (distance - 1 - i, i + 1);
        if by >= 0 { (at, source) } else { (last - at, last - source) }
    })
}
