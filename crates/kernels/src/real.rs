//! Dispatch: the innermost loops of products and convolutions, in the fastest form for each element type.

use crate::dots::{self, Dots};
use crate::float::Float;
use crate::scratch::Scratch;
use crate::tile::{self, PanelProduct};
use crate::winograd::tiles::{self, Tiles};
use crate::winograd::transforms::Transform;

/// An element type that has the innermost loops of products and convolutions.
pub(crate) trait Real: Float + Scratch {
    /// Whether [`Real::multiply`] is as fast as `gemm` on this CPU.
    fn multiplies_fast() -> bool;

    /// Multiplies packed panels.
    ///
    /// # Safety
    /// As for [`PanelProduct::by_gemm`].
    #[expect(unsafe_code, reason = "products write through pointers")]
    unsafe fn multiply(panel: PanelProduct<'_, Self>);

    /// Computes the dot products of rows with rows.
    fn dots(dots: Dots<'_, Self>);

    /// Transforms tiles.
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

    #[expect(unsafe_code, reason = "products write through pointers")]
    unsafe fn multiply(panel: PanelProduct<'_, Self>) {
        // SAFETY: guaranteed by the caller.
        unsafe { panel.by_tiles() }
    }

    fn dots(dots: Dots<'_, Self>) {
        dots::by_registers(dots);
    }

    #[expect(unsafe_code, reason = "tiles are written through pointers")]
    unsafe fn transform<F: Transform<A, B>, const A: usize, const B: usize>(tiles: Tiles<'_, Self>) {
        // SAFETY: guaranteed by the caller.
        unsafe { tiles::by_registers::<F, A, B>(tiles) }
    }
}

impl Real for f64 {
    fn multiplies_fast() -> bool {
        false
    }

    #[expect(unsafe_code, reason = "products write through pointers")]
    unsafe fn multiply(panel: PanelProduct<'_, Self>) {
        // SAFETY: guaranteed by the caller.
        unsafe { panel.by_gemm() }
    }

    fn dots(dots: Dots<'_, Self>) {
        dots::one_by_one(dots);
    }

    #[expect(unsafe_code, reason = "tiles are written through pointers")]
    unsafe fn transform<F: Transform<A, B>, const A: usize, const B: usize>(tiles: Tiles<'_, Self>) {
        // SAFETY: guaranteed by the caller.
        unsafe { tiles::one_by_one::<F, A, B>(tiles) }
    }
}
