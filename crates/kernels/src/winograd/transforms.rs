//! The small linear transforms of minimal filtering.
//!
//! Winograd's F(m, r) (*Arithmetic Complexity of Computations*, 1980; for convolutions Lavin & Gray 2015,
//! arXiv:1509.09308) computes m neighbouring outputs of a filter of r taps from m + r − 1 products:
//! y = Aᵀ((G g) ⊙ (Bᵀ d)). In two dimensions, the transforms apply along both axes. The evaluation points are
//! 0, 1, ∞, then −1, then 2, then −2, ½ and −½, so that the matrices have small entries and lose little
//! precision. The gradients need the adjoint of each transform.

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

scheme! {
    /// F(4, 3), at 0, ±1, ±2 and ∞. The points of a pair share their even and odd terms.
    F43<4, 3, 6> in f43 {
        Input: 6 to 6, |n, d| {
            let (ones, odd_ones) = (n.scale_add(-4.0, d[2], d[4]), n.scale_add(-4.0, d[1], d[3]));
            let (twos, odd_twos) = (n.sub(d[4], d[2]), n.scale(2.0, n.sub(d[3], d[1])));
            [
                n.scale_add(4.0, d[0], n.scale_add(-5.0, d[2], d[4])),
                n.add(ones, odd_ones),
                n.sub(ones, odd_ones),
                n.add(twos, odd_twos),
                n.sub(twos, odd_twos),
                n.scale_add(4.0, d[1], n.scale_add(-5.0, d[3], d[5])),
            ]
        };
        InputAdjoint: 6 to 6, |n, v| {
            let (ones, odd_ones) = (n.add(v[1], v[2]), n.sub(v[1], v[2]));
            let (twos, odd_twos) = (n.add(v[3], v[4]), n.sub(v[3], v[4]));
            [
                n.scale(4.0, v[0]),
                n.scale_add(4.0, n.sub(v[5], odd_ones), n.scale(-2.0, odd_twos)),
                n.scale_add(-5.0, v[0], n.scale_add(-4.0, ones, n.sub(n.zero(), twos))),
                n.scale_add(-5.0, v[5], n.scale_add(2.0, odd_twos, odd_ones)),
                n.add(v[0], n.add(ones, twos)),
                v[5],
            ]
        };
        Filter: 3 to 6, |n, g| {
            let (ones, odd_ones) = (n.scale(-1.0 / 6.0, n.add(g[0], g[2])), n.scale(-1.0 / 6.0, g[1]));
            let twos = n.scale(1.0 / 24.0, n.scale_add(4.0, g[2], g[0]));
            let odd_twos = n.scale(1.0 / 12.0, g[1]);
            [
                n.scale(0.25, g[0]),
                n.add(ones, odd_ones),
                n.sub(ones, odd_ones),
                n.add(twos, odd_twos),
                n.sub(twos, odd_twos),
                g[2],
            ]
        };
        FilterAdjoint: 6 to 3, |n, u| {
            let ones = n.scale(-1.0 / 6.0, n.add(u[1], u[2]));
            let odd_ones = n.scale(-1.0 / 6.0, n.sub(u[1], u[2]));
            let (twos, odd_twos) = (n.add(u[3], u[4]), n.sub(u[3], u[4]));
            [
                n.scale_add(0.25, u[0], n.scale_add(1.0 / 24.0, twos, ones)),
                n.scale_add(1.0 / 12.0, odd_twos, odd_ones),
                n.scale_add(1.0 / 6.0, twos, n.add(ones, u[5])),
            ]
        };
        Output: 6 to 4, |n, m| {
            let (ones, odd_ones) = (n.add(m[1], m[2]), n.sub(m[1], m[2]));
            let (twos, odd_twos) = (n.add(m[3], m[4]), n.sub(m[3], m[4]));
            [
                n.add(m[0], n.add(ones, twos)),
                n.scale_add(2.0, odd_twos, odd_ones),
                n.scale_add(4.0, twos, ones),
                n.scale_add(8.0, odd_twos, n.add(odd_ones, m[5])),
            ]
        };
        OutputAdjoint: 4 to 6, |n, y| {
            let (ones, odd_ones) = (n.add(y[0], y[2]), n.add(y[1], y[3]));
            let twos = n.scale_add(4.0, y[2], y[0]);
            let odd_twos = n.scale_add(8.0, y[3], n.scale(2.0, y[1]));
            [
                y[0],
                n.add(ones, odd_ones),
                n.sub(ones, odd_ones),
                n.add(twos, odd_twos),
                n.sub(twos, odd_twos),
                y[3],
            ]
        };
    }
}

scheme! {
    /// F(4, 5), at 0, ±1, ±2, ±½ and ∞. The points of a pair share their even and odd terms.
    F45<4, 5, 8> in f45 {
        Input: 8 to 8, |n, d| {
            let ones = n.scale_add(-4.25, d[4], n.add(d[2], d[6]));
            let odd_ones = n.scale_add(-4.25, d[3], n.add(d[1], d[5]));
            let twos = n.scale_add(0.25, d[2], n.scale_add(-1.25, d[4], d[6]));
            let odd_twos = n.scale_add(0.5, d[1], n.scale_add(-2.5, d[3], n.scale(2.0, d[5])));
            let halves = n.scale_add(4.0, d[2], n.scale_add(-5.0, d[4], d[6]));
            let odd_halves = n.scale_add(2.0, d[1], n.scale_add(-2.5, d[3], n.scale(0.5, d[5])));
            [
                n.scale_add(5.25, n.sub(d[4], d[2]), n.sub(d[0], d[6])),
                n.add(ones, odd_ones),
                n.sub(ones, odd_ones),
                n.add(twos, odd_twos),
                n.sub(twos, odd_twos),
                n.add(halves, odd_halves),
                n.sub(halves, odd_halves),
                n.scale_add(5.25, n.sub(d[3], d[5]), n.sub(d[7], d[1])),
            ]
        };
        InputAdjoint: 8 to 8, |n, v| {
            let (ones, odd_ones) = (n.add(v[1], v[2]), n.sub(v[1], v[2]));
            let (twos, odd_twos) = (n.add(v[3], v[4]), n.sub(v[3], v[4]));
            let (halves, odd_halves) = (n.add(v[5], v[6]), n.sub(v[5], v[6]));
            [
                v[0],
                n.scale_add(0.5, odd_twos, n.scale_add(2.0, odd_halves, n.sub(odd_ones, v[7]))),
                n.scale_add(-5.25, v[0], n.scale_add(0.25, twos, n.scale_add(4.0, halves, ones))),
                n.scale_add(
                    -4.25,
                    odd_ones,
                    n.scale_add(-2.5, n.add(odd_twos, odd_halves), n.scale(5.25, v[7])),
                ),
                n.scale_add(
                    -4.25,
                    ones,
                    n.scale_add(-1.25, twos, n.scale_add(-5.0, halves, n.scale(5.25, v[0]))),
                ),
                n.scale_add(-5.25, v[7], n.scale_add(2.0, odd_twos, n.scale_add(0.5, odd_halves, odd_ones))),
                n.add(n.add(n.sub(ones, v[0]), twos), halves),
                v[7],
            ]
        };
        Filter: 5 to 8, |n, g| {
            let (ones, odd_ones) = (n.add(n.add(g[0], g[2]), g[4]), n.add(g[1], g[3]));
            let twos = n.scale_add(16.0, g[4], n.scale_add(4.0, g[2], g[0]));
            let odd_twos = n.scale_add(8.0, g[3], n.scale(2.0, g[1]));
            let halves = n.scale_add(0.0625, g[4], n.scale_add(0.25, g[2], g[0]));
            let odd_halves = n.scale_add(0.125, g[3], n.scale(0.5, g[1]));
            [
                g[0],
                n.scale(-2.0 / 9.0, n.add(ones, odd_ones)),
                n.scale(-2.0 / 9.0, n.sub(ones, odd_ones)),
                n.scale(1.0 / 90.0, n.add(twos, odd_twos)),
                n.scale(1.0 / 90.0, n.sub(twos, odd_twos)),
                n.scale(32.0 / 45.0, n.add(halves, odd_halves)),
                n.scale(32.0 / 45.0, n.sub(halves, odd_halves)),
                g[4],
            ]
        };
        FilterAdjoint: 8 to 5, |n, u| {
            let ones = n.scale(-2.0 / 9.0, n.add(u[1], u[2]));
            let odd_ones = n.scale(-2.0 / 9.0, n.sub(u[1], u[2]));
            let (twos, odd_twos) =
                (n.scale(1.0 / 90.0, n.add(u[3], u[4])), n.scale(1.0 / 90.0, n.sub(u[3], u[4])));
            let (halves, odd_halves) =
                (n.scale(32.0 / 45.0, n.add(u[5], u[6])), n.scale(32.0 / 45.0, n.sub(u[5], u[6])));
            [
                n.add(n.add(u[0], ones), n.add(twos, halves)),
                n.scale_add(2.0, odd_twos, n.scale_add(0.5, odd_halves, odd_ones)),
                n.scale_add(4.0, twos, n.scale_add(0.25, halves, ones)),
                n.scale_add(8.0, odd_twos, n.scale_add(0.125, odd_halves, odd_ones)),
                n.scale_add(16.0, twos, n.scale_add(0.0625, halves, n.add(ones, u[7]))),
            ]
        };
        Output: 8 to 4, |n, m| {
            let (ones, odd_ones) = (n.add(m[1], m[2]), n.sub(m[1], m[2]));
            let (twos, odd_twos) = (n.add(m[3], m[4]), n.sub(m[3], m[4]));
            let (halves, odd_halves) = (n.add(m[5], m[6]), n.sub(m[5], m[6]));
            [
                n.add(n.add(m[0], ones), n.add(twos, halves)),
                n.scale_add(2.0, odd_twos, n.scale_add(0.5, odd_halves, odd_ones)),
                n.scale_add(4.0, twos, n.scale_add(0.25, halves, ones)),
                n.scale_add(8.0, odd_twos, n.scale_add(0.125, odd_halves, n.add(odd_ones, m[7]))),
            ]
        };
        OutputAdjoint: 4 to 8, |n, y| {
            let (ones, odd_ones) = (n.add(y[0], y[2]), n.add(y[1], y[3]));
            let (twos, odd_twos) =
                (n.scale_add(4.0, y[2], y[0]), n.scale_add(8.0, y[3], n.scale(2.0, y[1])));
            let (halves, odd_halves) =
                (n.scale_add(0.25, y[2], y[0]), n.scale_add(0.125, y[3], n.scale(0.5, y[1])));
            [
                y[0],
                n.add(ones, odd_ones),
                n.sub(ones, odd_ones),
                n.add(twos, odd_twos),
                n.sub(twos, odd_twos),
                n.add(halves, odd_halves),
                n.sub(halves, odd_halves),
                y[3],
            ]
        };
    }
}
