//! Reflection at the edges of a line of pixels that is shifted.

/// The pixels that stay empty when a line of `size` pixels shifts by `by` (less than `size`), each with the
/// pixel that it mirrors. The edge itself is not repeated.
pub(crate) fn mirrored(by: isize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let distance = by.unsigned_abs();
    let last = size.saturating_sub(1);
    (0..distance).map(move |i| {
        // From the edge of the shifted line, the i-th pixel outwards mirrors the i-th pixel inwards.
        let (at, source) = (distance - 1 - i, i + 1);
        if by >= 0 { (at, source) } else { (last - at, last - source) }
    })
}
