//! The figures of the last hour: the counters, read every ten seconds.
//!
//! Must stay true: bounded in memory (see the test); a series whose counter has never moved takes
//! nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::figures::Figure;
use crate::{metrics::Readings, types::Timestamp};

/// An hour.
const MAX_SAMPLES: usize = 360;
/// Series with their labels, at most.
const MAX_SERIES: usize = 400;
/// Points of a time line.
pub(super) const POINTS: usize = 120;
/// The time that a point stands for.
pub(super) const POINT: Duration = Duration::from_secs(30);

/// The samples of the last hour.
#[derive(Default)]
pub(super) struct Samples {
    /// How many there have been.
    count: u64,
    times: VecDeque<Timestamp>,
    series: BTreeMap<(Figure, Vec<String>), Series>,
}

/// One series. The last point is of the last sample; earlier ones may be missing.
struct Series {
    total: f64,
    /// The number of the sample that the last point is of.
    sample: u64,
    /// The increase of a counter, or the value of a gauge.
    points: VecDeque<f32>,
}

impl Samples {
    /// Adds a sample.
    pub(super) fn add(&mut self, now: Timestamp, readings: &Readings) {
        let is_first = self.times.is_empty();
        if self.times.len() >= MAX_SAMPLES {
            self.times.pop_front();
        }
        self.times.push_back(now);
        self.count += 1;
        for figure in Figure::ALL {
            let source = figure.source();
            let totals = readings.sums(source.family, source.labels, source.part);
            for (labels, total) in totals {
                self.add_point(figure, labels, total, is_first);
            }
        }
        let count = self.count;
        self.series.retain(|_, series| {
            if series.points.len() > MAX_SAMPLES {
                series.points.pop_front();
            }
            // Not read this time: a backend that is no longer configured.
            series.sample == count
        });
    }

    fn add_point(&mut self, figure: Figure, labels: Vec<String>, total: f64, is_first: bool) {
        let is_gauge = figure.source().is_gauge;
        let key = (figure, labels);
        if !self.series.contains_key(&key) {
            // A gauge at zero says something: a backend that is not healthy.
            if (total == 0.0 && !is_gauge) || self.series.len() >= MAX_SERIES {
                return;
            }
        }
        let series = self.series.entry(key).or_insert_with(|| Series {
            // What was counted before the first sample is of no known time.
            total: if is_first { total } else { 0.0 },
            sample: 0,
            points: VecDeque::new(),
        });
        let point = if is_gauge {
            total
        } else {
            total - series.total
        };
        series.total = total;
        series.sample = self.count;
        // Exact for increases below 2^24.
        #[expect(clippy::cast_possible_truncation)]
        series.points.push_back(point as f32);
    }

    /// When the last sample was taken.
    pub(super) fn last_at(&self) -> Option<Timestamp> {
        self.times.back().copied()
    }

    /// The present values of a gauge, by their labels.
    pub(super) fn gauges(&self, figure: Figure) -> impl Iterator<Item = (&[String], f64)> {
        self.series_of(figure)
            .map(|(labels, series)| (labels, series.total))
    }

    /// The sum of the present values of a gauge.
    pub(super) fn gauge(&self, figure: Figure) -> f64 {
        self.gauges(figure).map(|(_, value)| value).sum()
    }

    /// The increases in the last `span`, by labels; without those that are zero.
    pub(super) fn increases(
        &self,
        figure: Figure,
        span: Duration,
    ) -> impl Iterator<Item = (&[String], f64)> {
        let count = self.count_within(span);
        let increases = self.series_of(figure).map(move |(labels, series)| {
            let points = series.points.iter().rev().take(count);
            (labels, points.map(|point| f64::from(*point)).sum::<f64>())
        });
        increases.filter(|(_, increase)| *increase > 0.0)
    }

    /// The increase in the last `span` of all series that `is_counted` takes.
    pub(super) fn increase(
        &self,
        figure: Figure,
        span: Duration,
        is_counted: impl Fn(&[String]) -> bool,
    ) -> f64 {
        self.increases(figure, span)
            .filter(|(labels, _)| is_counted(labels))
            .map(|(_, increase)| increase)
            .sum()
    }

    /// A time line of the last hour, oldest first: the rate of a counter in each second, or the
    /// greatest value of a gauge. `None`: no sample is of that time.
    pub(super) fn line(
        &self,
        figure: Figure,
        is_counted: impl Fn(&[String]) -> bool,
    ) -> Vec<Option<f64>> {
        let mut line = vec![None; POINTS];
        let Some(last) = self.last_at() else {
            return line;
        };
        let is_gauge = figure.source().is_gauge;
        let series: Vec<_> = self
            .series_of(figure)
            .filter(|(labels, _)| is_counted(labels))
            .map(|(_, series)| &series.points)
            .collect();
        for (back, at) in self.times.iter().rev().enumerate() {
            let age = last.since(*at).as_secs() / POINT.as_secs();
            let Some(slot) = usize::try_from(age)
                .ok()
                .and_then(|age| (POINTS - 1).checked_sub(age))
            else {
                break;
            };
            let points = series.iter().filter_map(|points| {
                let index = points.len().checked_sub(back + 1)?;
                points.get(index).map(|point| f64::from(*point))
            });
            let sum: f64 = points.sum();
            let before = line[slot].unwrap_or(0.0);
            line[slot] = Some(if is_gauge {
                sum.max(before)
            } else {
                before + sum / POINT.as_secs_f64()
            });
        }
        line
    }

    /// The mean of an observation for each point: the sum's line over the count's.
    pub(super) fn mean_line(&self, sum: Figure, count: Figure) -> Vec<Option<f64>> {
        let (sums, counts) = (self.line(sum, |_| true), self.line(count, |_| true));
        let means = sums.into_iter().zip(counts).map(|(sum, count)| {
            let count = count?;
            (count > 0.0).then(|| sum.map(|sum| sum / count)).flatten()
        });
        means.collect()
    }

    fn series_of(&self, figure: Figure) -> impl Iterator<Item = (&[String], &Series)> {
        self.series
            .range((figure, Vec::new())..)
            .take_while(move |((of, _), _)| *of == figure)
            .map(|((_, labels), series)| (labels.as_slice(), series))
    }

    fn count_within(&self, span: Duration) -> usize {
        let Some(last) = self.last_at() else { return 0 };
        let recent = self.times.iter().rev();
        recent.take_while(|at| last.since(**at) < span).count()
    }

    /// The bytes of the points and labels.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let series = self.series.iter().map(|((_, labels), series)| {
            let labels: usize = labels.iter().map(|label| label.capacity() + 24).sum();
            labels + series.points.capacity() * size_of::<f32>() + 128
        });
        series.sum::<usize>() + self.times.capacity() * size_of::<Timestamp>()
    }
}
