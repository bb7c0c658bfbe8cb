//! `Real`: the products and transforms of the kernels, by the fastest way for each element type.

use crate::dots::{self, Dots};
use crate::float::Float;
use crate::scratch::Scratch;
use crate::tile::{self, PanelProduct};
use crate::winograd::tiles::{self, Tiles};
use crate::winograd::transforms::Transform;

/// An element type with the innermost loops of products and convolutions.
pub(crate) trait Real: Float + Scratch {
    /// Whether [`Real::multiply`] is as fast as `gemm` here.
    fn multiplies_fast() -> bool;

    /// The product of packed panels.
    ///
    /// # Safety
    /// As for [`PanelProduct::by_gemm`].
    #[expect(unsafe_code, reason = "the tiles write through pointers")]
    unsafe fn multiply(panel: PanelProduct<'_, Self>);

    /// Products of rows with rows.
    fn dots(dots: Dots<'_, Self>);

    /// The transform of tiles.
    ///
    /// # Safety
    /// As for [`tiles::by_registers`].
    #[expect(unsafe_code, reason = "tiles are written through pointers")]
    unsafe fn transform<F: Transform<A, B>, const A: usize, const B: usize>(tiles: Tiles<'_, Self>);
}

impl Real for f32 {
    fn multiplies_fast() -> bool {
        tile::fast()
    }

    #[expect(unsafe_code, reason = "the tiles write through pointers")]
    unsafe fn multiply(panel: PanelProduct<'_, Self>) {
        // SAFETY: the caller's promises.
        unsafe { panel.by_tiles() }
    }

    fn dots(dots: Dots<'_, Self>) {
        dots::by_registers(dots);
    }

    #[expect(unsafe_code, reason = "tiles are written through pointers")]
    unsafe fn transform<F: Transform<A, B>, const A: usize, const B: usize>(tiles: Tiles<'_, Self>) {
        // SAFETY: the caller's promises.
        unsafe { tiles::by_registers::<F, A, B>(tiles) }
    }
}

impl Real for f64 {
    fn multiplies_fast() -> bool {
        false
    }

    #[expect(unsafe_code, reason = "the tiles write through pointers")]
    unsafe fn multiply(panel: PanelProduct<'_, Self>) {
        // SAFETY: the caller's promises.
        unsafe { panel.by_gemm() }
    }

    fn dots(dots: Dots<'_, Self>) {
        dots::one_by_one(dots);
    }

    #[expect(unsafe_code, reason = "tiles are written through pointers")]
    unsafe fn transform<F: Transform<A, B>, const A: usize, const B: usize>(tiles: Tiles<'_, Self>) {
        // SAFETY: the caller's promises.
        unsafe { tiles::one_by_one::<F, A, B>(tiles) }
    }
}
