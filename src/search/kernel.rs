//! Sums over arrays of `f32`: dot products, squared distances, norms.
//!
//! Sixteen sums run side by side, so that the compiler makes vector instructions of them and no addition waits for the one before; measured,
//! memory is the limit then. The order of additions depends on the length alone: the same arrays give the same bits wherever they lie.
//!
//! # How exact
//!
//! Each sum is off by at most `(n / 16 + 6) * 2^-24` of the sum of the terms' absolute values (`n` terms; Higham, "Accuracy and Stability of
//! Numerical Algorithms", section 4.2). Where `f32` overflows, or squares get so small that they vanish, the sum is made again in `f64`.

/// How many sums run side by side.
const LANES: usize = 16;
/// Sums of squares outside are made again in `f64`.
const SQUARES_MIN: f32 = 1e-30;

/// The sum of products. Both have the same length.
#[must_use]
pub fn dot(one: &[f32], other: &[f32]) -> f64 {
    let sum = sum_of(one, other, |one, other| one * other);
    if sum.is_finite() { f64::from(sum) } else { wide(one, other, |one, other| one * other) }
}

/// The square of the Euclidean distance. Both have the same length.
#[must_use]
pub fn distance_squared(one: &[f32], other: &[f32]) -> f64 {
    let sum = sum_of(one, other, |one, other| (one - other) * (one - other));
    if sum.is_finite() && sum >= SQUARES_MIN {
        return f64::from(sum);
    }
    wide(one, other, |one, other| (one - other) * (one - other))
}

/// The Euclidean norm.
#[must_use]
pub fn norm(vector: &[f32]) -> f64 {
    let sum = sum_of(vector, vector, |one, other| one * other);
    let sum = if sum.is_finite() && sum >= SQUARES_MIN {
        f64::from(sum)
    } else {
        wide(vector, vector, |one, other| one * other)
    };
    sum.sqrt()
}

/// The vector with norm 1; `None` for one of norm 0.
#[must_use]
pub fn normalised(vector: &[f32]) -> Option<Vec<f32>> {
    let norm = wide(vector, vector, |one, other| one * other).sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
    let scaled = || vector.iter().map(|value| (f64::from(*value) / norm) as f32).collect();
    (norm > 0.0).then(scaled)
}

#[inline(always)]
fn sum_of(one: &[f32], other: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    debug_assert_eq!(one.len(), other.len());
    let (ones, one_rest) = one.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (one, other) in ones.iter().zip(others) {
        for lane in 0..LANES {
            sums[lane] += term(one[lane], other[lane]);
        }
    }
    for (lane, (one, other)) in one_rest.iter().zip(other_rest).enumerate() {
        sums[lane] += term(*one, *other);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

fn wide(one: &[f32], other: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    one.iter().zip(other).map(|(one, other)| term(f64::from(*one), f64::from(*other))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        (0_usize..300).prop_flat_map(|len| {
            let values = || prop::collection::vec(-1e4_f32..1e4, len);
            (values(), values())
        })
    }

    /// The bound that the module states, for terms of these absolute values.
    fn bound(terms: usize, absolute: f64) -> f64 {
        (terms as f64 / 16.0 + 6.0) * 2_f64.powi(-24) * absolute * (1.0 + 1e-3)
    }

    proptest! {
        #[test]
        fn sums_are_within_the_stated_bound((one, other) in vectors()) {
            let product = |one: f64, other: f64| one * other;
            let absolute = wide(&one, &other, |one, other| (one * other).abs());
            prop_assert!((dot(&one, &other) - wide(&one, &other, product)).abs() <= bound(one.len(), absolute));
            let square = wide(&one, &other, |one, other| (one - other) * (one - other));
            // The difference and its square round once each, too.
            let slack = bound(one.len(), square) + 3.0 * 2_f64.powi(-24) * square;
            prop_assert!((distance_squared(&one, &other) - square).abs() <= slack);
            let squares = wide(&one, &one, product);
            prop_assert!((norm(&one).powi(2) - squares).abs() <= bound(one.len(), squares) + 1e-12 * squares);
        }

        #[test]
        fn a_place_in_memory_changes_no_bit((one, other) in vectors(), shift in 0_usize..7) {
            let moved = |values: &[f32]| [vec![f32::NAN; shift], values.to_vec()].concat();
            let (a, b) = (moved(&one), moved(&other));
            prop_assert_eq!(dot(&one, &other).to_bits(), dot(&a[shift..], &b[shift..]).to_bits());
            prop_assert_eq!(dot(&one, &other).to_bits(), dot(&other, &one).to_bits());
        }
    }

    #[test]
    fn small_whole_numbers_are_exact() {
        for len in [0, 1, 15, 16, 17, 31, 32, 100, 1536] {
            let one: Vec<f32> = (0..len).map(|at| (at % 7) as f32).collect();
            let other: Vec<f32> = (0..len).map(|at| (at % 5) as f32 - 2.0).collect();
            let sum: i64 = (0..len).map(|at| (at % 7) * (at % 5 - 2)).sum();
            assert_eq!(dot(&one, &other), sum as f64);
            let squares: i64 = (0..len).map(|at| (at % 7 - (at % 5 - 2)).pow(2)).sum();
            assert_eq!(distance_squared(&one, &other), squares as f64);
        }
    }

    #[test]
    fn the_ends_of_the_range_are_reached() {
        let large = [f32::MAX; 20];
        assert_eq!(dot(&large, &large), 20.0 * f64::from(f32::MAX).powi(2));
        assert!((norm(&large) / (20.0_f64.sqrt() * f64::from(f32::MAX)) - 1.0).abs() < 1e-12);
        assert!(distance_squared(&large, &[-f32::MAX; 20]).is_finite());
        let small = [1e-25_f32; 4];
        assert!((norm(&small) / 2e-25 - 1.0).abs() < 1e-6);
        assert!((distance_squared(&small, &[0.0; 4]) / 4e-50 - 1.0).abs() < 1e-6);
        for vector in [&large[..], &small[..], &[3.0, 4.0][..]] {
            assert!((norm(&normalised(vector).unwrap()) - 1.0).abs() < 1e-6);
        }
        assert_eq!(normalised(&[0.0, -0.0]), None);
        assert_eq!(normalised(&[]), None);
    }
}
