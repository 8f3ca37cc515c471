use std::{
    fmt,
    time::{Duration, Instant},
};

/// One line of a benchmark's output.
#[derive(Debug)]
pub struct Figure {
    pub what: String,
    pub value: String,
    /// Against what, and how many times it; `None` for the floor itself.
    pub ratio: Option<(String, f64)>,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<44} {:>20}", self.what, self.value)?;
        match &self.ratio {
            Some((against, ratio)) => write!(f, "   {ratio:.2} x {against}"),
            None => Ok(()),
        }
    }
}

/// The time that some work takes, and what it made.
///
/// # Errors
/// As the work says.
pub async fn timed<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<(T, Duration), E> {
    let start = Instant::now();
    Ok((work.await?, start.elapsed()))
}

/// The middle of some durations; zero where there are none.
#[must_use]
pub fn median(times: &mut [Duration]) -> Duration {
    percentile(times, 50)
}

/// The duration that `percent` of them do not exceed.
#[must_use]
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len().saturating_sub(1)) * percent.min(100) / 100;
    times.get(at).copied().unwrap_or_default()
}
