//! The arithmetic of the tables.

/// The middle of the values; the mean of the two in the middle of an even number of them. NaN of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// The smallest value that at least `percent` of all don't exceed (nearest rank). NaN of none.
pub(crate) fn percentile(values: &mut [u32], percent: f64) -> f64 {
    values.sort_unstable();
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values
        .get(rank.clamp(1, values.len().max(1)) - 1)
        .map_or(f64::NAN, |&value| f64::from(value))
}

/// How far, in percent of an equal share, the worst of the counts is from it.
pub(crate) fn worst_deviation_percent(counts: &[u64]) -> f64 {
    let equal = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    counts
        .iter()
        .map(|&count| (count as f64 - equal).abs() / equal * 100.0)
        .fold(0.0, f64::max)
}

/// The median of what one has over what the other has in the same round: what changes from round to round on a shared
/// machine changes for both.
pub(crate) fn median_ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middle_ones() {
        assert!((median(&[9.0, 1.0, 5.0]) - 5.0).abs() < 1e-9);
        assert!((median(&[9.0, 1.0, 5.0, 6.0]) - 5.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values: Vec<u32> = (1..=200).rev().collect();
        assert_eq!(percentile(&mut values, 50.0), 100.0);
        assert_eq!(percentile(&mut values, 99.0), 198.0);
        assert_eq!(percentile(&mut values, 100.0), 200.0);
        assert_eq!(percentile(&mut [7], 1.0), 7.0);
        assert!(percentile(&mut [], 50.0).is_nan());
    }

    #[test]
    fn deviation_is_relative_to_an_equal_share() {
        assert!((worst_deviation_percent(&[100, 100, 130]) - 18.181_818).abs() < 1e-3);
        assert_eq!(worst_deviation_percent(&[7, 7]), 0.0);
    }

    #[test]
    fn ratios_are_made_round_by_round() {
        // The machine was half as fast in the second round, for both.
        assert!((median_ratio(&[110.0, 55.0, 110.0], &[100.0, 50.0, 100.0]) - 1.1).abs() < 1e-9);
    }
}
