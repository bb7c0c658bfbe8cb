//! The small linear transforms of minimal filtering.
//!
//! Winograd's F(m, r) (*Arithmetic Complexity of Computations*, 1980; for convolutions Lavin & Gray 2015,
//! arXiv:1509.09308) computes m neighbouring outputs of a filter of r taps from m + r − 1 products:
//! y = Aᵀ((G g) ⊙ (Bᵀ d)). In two dimensions, the transforms apply along both axes. The evaluation points are
//! 0, 1, ∞, then −1, then 2, so that the matrices have small entries and lose little precision. The gradients
//! need the adjoint of each transform.

use crate::winograd::numbers::Numbers;

/// A linear map from a line of `A` numbers to a line of `B`.
pub(crate) trait Transform<const A: usize, const B: usize> {
    fn line<N: Numbers>(n: N, x: [N::Vector; A]) -> [N::Vector; B];
}

/// The transforms of F(M, R), which has N = M + R − 1 points.
pub(crate) trait Scheme<const M: usize, const R: usize, const N: usize> {
    /// Bᵀ.
    type Input: Transform<N, N>;
    /// B.
    type InputAdjoint: Transform<N, N>;
    /// G.
    type Filter: Transform<R, N>;
    /// Gᵀ.
    type FilterAdjoint: Transform<N, R>;
    /// Aᵀ.
    type Output: Transform<N, M>;
    /// A.
    type OutputAdjoint: Transform<M, N>;
}

/// Defines a scheme by the effect of each of its transforms on a line.
macro_rules! scheme {
    (
        $(#[$doc:meta])*
        $scheme:ident<$m:literal, $r:literal, $points:literal> in $module:ident {
            $($transform:ident: $a:literal to $b:literal, |$n:ident, $x:ident| $line:expr;)+
        }
    ) => {
        $(#[$doc])*
        pub(crate) struct $scheme;

        impl Scheme<$m, $r, $points> for $scheme {
            $(type $transform = $module::$transform;)+
        }

        mod $module {
            use crate::winograd::numbers::Numbers;
            use crate::winograd::transforms::Transform;

            $(
                pub(crate) struct $transform;

                impl Transform<$a, $b> for $transform {
                    #[inline(always)]
                    fn line<N: Numbers>($n: N, $x: [N::Vector; $a]) -> [N::Vector; $b] {
                        $line
                    }
                }
            )+
        }
    };
}

scheme! {
    /// F(2, 2), at 0, 1 and ∞.
    F22<2, 2, 3> in f22 {
        Input: 3 to 3, |n, d| [n.sub(d[0], d[1]), d[1], n.sub(d[2], d[1])];
        InputAdjoint: 3 to 3, |n, v| [v[0], n.sub(v[1], n.add(v[0], v[2])), v[2]];
        Filter: 2 to 3, |n, g| [g[0], n.add(g[0], g[1]), g[1]];
        FilterAdjoint: 3 to 2, |n, u| [n.add(u[0], u[1]), n.add(u[1], u[2])];
        Output: 3 to 2, |n, m| [n.add(m[0], m[1]), n.add(m[1], m[2])];
        OutputAdjoint: 2 to 3, |n, y| [y[0], n.add(y[0], y[1]), y[1]];
    }
}

scheme! {
    /// F(2, 3), at 0, 1, −1 and ∞.
    F23<2, 3, 4> in f23 {
        Input: 4 to 4, |n, d| [n.sub(d[0], d[2]), n.add(d[1], d[2]), n.sub(d[2], d[1]), n.sub(d[3], d[1])];
        InputAdjoint: 4 to 4, |n, v| {
            [v[0], n.sub(v[1], n.add(v[2], v[3])), n.sub(n.add(v[1], v[2]), v[0]), v[3]]
        };
        Filter: 3 to 4, |n, g| {
            let (ends, middle) = (n.scale(0.5, n.add(g[0], g[2])), n.scale(0.5, g[1]));
            [g[0], n.add(ends, middle), n.sub(ends, middle), g[2]]
        };
        FilterAdjoint: 4 to 3, |n, u| {
            let both = n.scale(0.5, n.add(u[1], u[2]));
            [n.add(u[0], both), n.scale(0.5, n.sub(u[1], u[2])), n.add(u[3], both)]
        };
        Output: 4 to 2, |n, m| [n.add(m[0], n.add(m[1], m[2])), n.add(n.sub(m[1], m[2]), m[3])];
        OutputAdjoint: 2 to 4, |n, y| [y[0], n.add(y[0], y[1]), n.sub(y[0], y[1]), y[1]];
    }
}

scheme! {
    /// F(4, 2), at 0, 1, −1, 2 and ∞.
    F42<4, 2, 5> in f42 {
        Input: 5 to 5, |n, d| {
            let (a, b) = (n.sub(d[3], d[1]), n.sub(d[3], d[2]));
            [
                n.scale_add(2.0, n.sub(d[0], d[2]), a),
                n.scale_add(-2.0, d[1], b),
                n.scale_add(2.0, n.sub(d[1], d[2]), b),
                a,
                n.scale_add(-2.0, a, n.sub(d[4], d[2])),
            ]
        };
        InputAdjoint: 5 to 5, |n, v| {
            let outer = n.scale_add(-2.0, v[4], n.add(v[0], v[3]));
            [
                n.scale(2.0, v[0]),
                n.scale_add(2.0, n.sub(v[2], v[1]), n.sub(n.zero(), outer)),
                n.scale_add(-3.0, v[2], n.scale_add(-2.0, v[0], n.sub(n.zero(), n.add(v[1], v[4])))),
                n.add(outer, n.add(v[1], v[2])),
                v[4],
            ]
        };
        Filter: 2 to 5, |n, g| [
            n.scale(0.5, g[0]),
            n.scale(-0.5, n.add(g[0], g[1])),
            n.scale(1.0 / 6.0, n.sub(g[1], g[0])),
            n.scale(1.0 / 6.0, n.scale_add(2.0, g[1], g[0])),
            g[1],
        ];
        FilterAdjoint: 5 to 2, |n, u| {
            let (halves, sixths) = (n.scale(0.5, n.sub(u[0], u[1])), n.sub(u[3], u[2]));
            [
                n.scale_add(1.0 / 6.0, sixths, halves),
                n.scale_add(-0.5, u[1], n.scale_add(1.0 / 6.0, n.scale_add(2.0, u[3], u[2]), u[4])),
            ]
        };
        Output: 5 to 4, |n, m| {
            let (sum, difference) = (n.add(m[1], m[2]), n.sub(m[1], m[2]));
            [
                n.add(m[0], n.add(sum, m[3])),
                n.scale_add(2.0, m[3], difference),
                n.scale_add(4.0, m[3], sum),
                n.scale_add(8.0, m[3], n.add(difference, m[4])),
            ]
        };
        OutputAdjoint: 4 to 5, |n, y| {
            let (even, odd) = (n.add(y[0], y[2]), n.add(y[1], y[3]));
            let by_two = n.scale_add(4.0, y[2], n.scale_add(2.0, y[1], y[0]));
            [y[0], n.add(even, odd), n.sub(even, odd), n.scale_add(8.0, y[3], by_two), y[3]]
        };
    }
}
