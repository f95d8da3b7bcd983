//! Benches that print ratios: what is measured, beside a baseline that is measured in the same run of the same machine.
//!
//! A number of a busy or a slow machine says little, a ratio says what a change has cost. Of each thing the median of many samples is
//! taken, and the samples of all take turns with those of the baseline.
#![expect(clippy::print_stdout, reason = "benches are there to print")]

use std::hint::black_box;
use std::time::{Duration, Instant};

/// A table of things that are measured against one baseline.
pub struct Bench {
    title: &'static str,
    baseline: Subject,
    subjects: Vec<Subject>,
}

struct Subject {
    name: String,
    run: Box<dyn FnMut()>,
    /// How often it is run for one sample.
    times: u32,
    samples: Vec<f64>,
}

const SAMPLES: usize = 31;
const SAMPLE: Duration = Duration::from_millis(10);

impl Bench {
    /// A table with its baseline.
    pub fn new<T>(title: &'static str, name: &str, baseline: impl FnMut() -> T + 'static) -> Self {
        Self {
            title,
            baseline: Subject::new(name, baseline),
            subjects: Vec::new(),
        }
    }

    /// Adds something to measure.
    pub fn measure<T>(&mut self, name: &str, run: impl FnMut() -> T + 'static) {
        self.subjects.push(Subject::new(name, run));
    }

    /// Measures everything and prints it as a table of Markdown.
    pub fn print(mut self) {
        for _ in 0..SAMPLES {
            self.baseline.sample();
            self.subjects.iter_mut().for_each(Subject::sample);
        }
        let baseline = self.baseline.median();
        println!("\n| {} | time | ratio |\n|---|--:|--:|", self.title);
        for subject in std::iter::once(&mut self.baseline).chain(&mut self.subjects) {
            let median = subject.median();
            let ratio = median / baseline;
            println!("| {} | {} | {ratio:.2} |", subject.name, readable(median));
        }
    }
}

impl Subject {
    fn new<T>(name: &str, mut run: impl FnMut() -> T + 'static) -> Self {
        let mut subject = Self {
            name: name.to_owned(),
            run: Box::new(move || {
                black_box(run());
            }),
            times: 1,
            samples: Vec::new(),
        };
        while subject.time() < SAMPLE && subject.times < 1 << 24 {
            subject.times *= 2;
        }
        subject
    }

    fn time(&mut self) -> Duration {
        let start = Instant::now();
        (0..self.times).for_each(|_| (self.run)());
        start.elapsed()
    }

    fn sample(&mut self) {
        let time = self.time();
        self.samples
            .push(time.as_secs_f64() / f64::from(self.times));
    }

    /// In seconds.
    fn median(&mut self) -> f64 {
        self.samples.sort_by(f64::total_cmp);
        let middle = self.samples.get(self.samples.len() / 2);
        middle.copied().unwrap_or(f64::NAN)
    }
}

/// Something that all measurements share, until the program ends.
pub fn shared<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn readable(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-4 => format!("{:.2} µs", s * 1e6),
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s => format!("{:.2} ms", s * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        let times = [1.23e-7, 4.567e-6, 1.234e-4, 0.0123].map(readable);
        assert_eq!(times, ["123 ns", "4.57 µs", "123 µs", "12.30 ms"]);
    }
}
