//! Percentiles.

/// The smallest value that so many of a hundred do not exceed (nearest rank): no value is made up
/// between two that were seen. None where there are no values.
pub fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}
