//! What became of each measure under load, and whether it grew.

use std::collections::BTreeSet;

use super::{
    Soak,
    meter::{Key, MEMORY, Reading, Sample, spare},
};

/// Growth of memory is a fault beyond both, in each half of the run: a cache that fills grows in the
/// first alone, and an allocator that takes another piece, in one of them. With 5 % an hour a process doubles within a day. 4 MiB an
/// hour are 23 bytes for each of 50 messages a second: less cannot be told from what allocators keep.
const GROWTH_AN_HOUR: f64 = 0.05;
const LEAST_GROWTH_AN_HOUR_KIB: f64 = 4_096.0;
/// A count that rises all the time is a fault beyond both. Devices choose a gateway at random: of 80
/// connections some more or fewer are at one.
const RISE: f64 = 0.1;
const LEAST_RISE: f64 = 20.0;

/// What became of one measure.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    /// Before the first connection, and when all were gone.
    pub(super) before: f64,
    pub(super) after: f64,
    /// The medians of the first and of the last tenth under load, after the warm-up.
    pub(super) first: f64,
    pub(super) last: f64,
    pub(super) a_minute: f64,
    /// The same of each half of that time.
    pub(super) halves: [f64; 2],
    pub(super) is_steady: bool,
}

pub(super) fn rows(
    settings: Soak,
    before: &Reading,
    samples: &[Sample],
    after: &Reading,
) -> Vec<Row> {
    let warm = |sample: &&Sample| sample.at >= settings.warm_up();
    let all: BTreeSet<&Key> = samples.iter().flat_map(|one| one.reading.keys()).collect();
    all.into_iter()
        .map(|key| {
            let points = samples.iter().filter(warm);
            let points: Vec<(f64, f64)> = points
                .filter_map(|one| Some((one.at.as_secs_f64() / 60.0, *one.reading.get(key)?)))
                .collect();
            let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
            let (first, last) = ends(&values, 10);
            let (one, other) = points.split_at(points.len() / 2);
            Row {
                key: key.clone(),
                before: before.get(key).copied().unwrap_or_default(),
                after: after.get(key).copied().unwrap_or_default(),
                first,
                last,
                a_minute: slope(&points),
                halves: [slope(one), slope(other)],
                is_steady: rises(&values),
            }
        })
        .collect()
}

impl Row {
    /// How it grew, if it did more than it may.
    pub(super) fn growth(&self) -> Option<String> {
        let (process, what) = &self.key;
        let (first, last) = (self.first, self.last);
        if what == MEMORY {
            let an_hour = self.a_minute * 60.0;
            let most = LEAST_GROWTH_AN_HOUR_KIB.max(GROWTH_AN_HOUR * first);
            let slopes = [self.a_minute, self.halves[0], self.halves[1]];
            let is_growing = slopes.iter().all(|a_minute| a_minute * 60.0 > most);
            return is_growing.then(|| {
                format!(
                    "{process}: {what} grow by {an_hour:.0} an hour, from {first:.0} to {last:.0}"
                )
            });
        }
        spare(&self.key)?;
        let most = LEAST_RISE.max(RISE * first);
        (self.is_steady && last - first > most)
            .then(|| format!("{process}: {what} grow from {first} to {last}"))
    }
}

/// Of a line through points by least squares: how much it rises for each unit.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let along: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let both = points.iter().map(|point| (point.0 - x) * (point.1 - y));
    if along > 0.0 {
        both.sum::<f64>() / along
    } else {
        0.0
    }
}

/// The medians of the first and of the last of so many parts.
fn ends(values: &[f64], parts: usize) -> (f64, f64) {
    let part = (values.len() / parts).max(1).min(values.len());
    let (first, last) = (&values[..part], &values[values.len() - part..]);
    (median(first), median(last))
}

/// Whether each third is above the one before.
fn rises(values: &[f64]) -> bool {
    let third = values.len() / 3;
    third > 0 && {
        let (first, last) = ends(values, 3);
        let middle = median(&values[third..values.len() - third]);
        first < middle && middle < last
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::soak::meter::{DESCRIPTORS, EVENTS_KEPT};

    fn row(what: &str, values: &[f64]) -> Row {
        let settings = Soak::default();
        let key = ("gateway", what.to_owned());
        let samples: Vec<Sample> = values
            .iter()
            .zip(0_u32..)
            .map(|(value, minute)| Sample {
                at: settings.warm_up() + Duration::from_secs(60) * minute,
                reading: BTreeMap::from([(key.clone(), *value)]),
            })
            .collect();
        let none = Reading::new();
        rows(settings, &none, &samples, &none).remove(0)
    }

    #[test]
    fn a_slope_is_that_of_the_line() {
        let points = |of: fn(f64) -> f64| -> Vec<(f64, f64)> {
            (0..60).map(f64::from).map(|x| (x, of(x))).collect()
        };
        let is = |points: &[(f64, f64)], slope: f64| (super::slope(points) - slope).abs() < 0.001;
        assert!(is(&points(|x| 7.0 + 3.0 * x), 3.0));
        assert!(is(&points(|x| 7.0 - 0.5 * x), -0.5));
        assert!(is(&points(|_| 7.0), 0.0));
        // As far above the line as below it.
        assert!(is(&[(0.0, 1.0), (1.0, 0.0), (2.0, 0.0), (3.0, 1.0)], 0.0));
        assert!(is(&[(5.0, 1.0)], 0.0));
        assert!(is(&[], 0.0));
    }

    #[test]
    fn memory_that_grows_beyond_both_bounds_is_a_fault() {
        let growing = |from: f64, an_hour: f64| {
            let values: Vec<f64> = (0..60)
                .map(|minute| from + an_hour * f64::from(minute) / 60.0)
                .collect();
            row(MEMORY, &values).growth()
        };
        assert!(growing(50_000.0, 5_000.0).is_some());
        // Less than 4 MiB, and less than 5 %.
        assert_eq!(growing(50_000.0, 4_000.0), None);
        assert_eq!(growing(500_000.0, 20_000.0), None);
        assert_eq!(growing(50_000.0, -5_000.0), None);
        // An allocator takes another piece, at one time or another.
        for when in [10, 30, 50] {
            let step: Vec<f64> = (0..60)
                .map(|minute| 50_000.0 + if minute < when { 0.0 } else { 20_000.0 })
                .collect();
            assert_eq!(row(MEMORY, &step).growth(), None);
        }
    }

    #[test]
    fn a_count_that_rises_all_the_time_is_a_fault_and_a_step_is_none() {
        let rising: Vec<f64> = (0..60).map(f64::from).collect();
        assert!(row(DESCRIPTORS, &rising).growth().is_some());
        assert!(row("outbox_overdue", &rising).growth().is_some());
        // The broker keeps what it is there to keep.
        assert_eq!(row(EVENTS_KEPT, &rising).growth(), None);
        let step: Vec<f64> = (0..60)
            .map(|minute| if minute < 10 { 10.0 } else { 90.0 })
            .collect();
        assert_eq!(row(DESCRIPTORS, &step).growth(), None);
        let swinging: Vec<f64> = (0..60).map(|minute| f64::from(minute % 7)).collect();
        assert_eq!(row(DESCRIPTORS, &swinging).growth(), None);
    }
}
