//! The times of a plan: pure functions of the declaration and of a moment.

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;

use super::spec::{ScheduleSpec, When, cron, zone};

/// The first time of the plan after `after`. `anchor`: a time of the plan, for plans that count from one.
///
/// # Errors
/// Why the declaration cannot be followed; one that was checked can.
pub(super) fn next(
    spec: &ScheduleSpec,
    after: DateTime<Utc>,
    anchor: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, String> {
    match &spec.when {
        When::Manual => Ok(None),
        When::Cron { cron: text, zone: name } => next_of_cron(text, &cron(text)?, zone(name)?, after),
        When::Interval { seconds } | When::OnChange { poll_seconds: seconds } => {
            Ok(Some(next_of_interval(anchor, seconds_of(*seconds), after)))
        }
        When::Continuous { pause_seconds } => Ok(Some(after + seconds_of(*pause_seconds))),
    }
}

pub(super) fn seconds_of(seconds: u64) -> Duration {
    // A century is for ever.
    Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX).min(100 * 366 * 86_400))
}

fn next_of_interval(anchor: DateTime<Utc>, every: Duration, after: DateTime<Utc>) -> DateTime<Utc> {
    let every = every.max(Duration::seconds(1));
    if after < anchor {
        return anchor;
    }
    let passed = (after - anchor).num_milliseconds() / every.num_milliseconds();
    anchor + Duration::milliseconds(every.num_milliseconds().saturating_mul(passed + 1))
}

/// Where the hour is given, the clock on the wall decides, and each of its times comes once; where it is `*`, time that
/// passes does.
fn next_of_cron(text: &str, cron: &Cron, zone: Tz, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, String> {
    let failed = |error: croner::errors::CronError| format!("`{text}` has no next time: {error}");
    let every_hour = text.trim().eq_ignore_ascii_case("@hourly") || text.split_whitespace().nth(1) == Some("*");
    if every_hour {
        let next = cron.find_next_occurrence(&after.with_timezone(&zone), false).map_err(failed)?;
        return Ok(Some(next.with_timezone(&Utc)));
    }
    // The wall's times, as if they were UTC: those of an hour that comes twice are behind the second showing of it.
    let wall = after.with_timezone(&zone).naive_local() - Duration::hours(4);
    let mut at = wall.and_utc();
    loop {
        at = cron.find_next_occurrence(&at, false).map_err(failed)?;
        let moment = moment(zone, at.naive_utc());
        if let Some(moment) = moment.filter(|moment| *moment > after) {
            return Ok(Some(moment));
        }
    }
}

/// When the clock of a zone shows a time: the first of two, or the end of the gap that it falls into.
fn moment(zone: Tz, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
    // The longest gap there was is a day (Samoa, Kwajalein).
    (0..26 * 60).find_map(|minutes| match zone.from_local_datetime(&(wall + Duration::minutes(minutes))) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.with_timezone(&Utc)),
        LocalResult::None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// Times of a plan from `from` on, in the zone's own writing.
    fn times(text: &str, zone_name: &str, from: &str, count: usize) -> Vec<String> {
        let spec = ScheduleSpec::new(When::Cron { cron: text.to_owned(), zone: zone_name.to_owned() });
        let tz = zone(zone_name).unwrap();
        let mut after = at(from);
        (0..count)
            .map(|_| {
                after = next(&spec, after, after).unwrap().unwrap();
                after.with_timezone(&tz).format("%m-%d %H:%M %z").to_string()
            })
            .collect()
    }

    // Berlin: 2026-03-29 02:00 -> 03:00, 2026-10-25 03:00 -> 02:00.
    #[rstest]
    #[case::a_time_in_the_gap_comes_once_after_it("30 2 * * *", "2026-03-28T12:00:00Z",
        &["03-29 03:00 +0200", "03-30 02:30 +0200"])]
    #[case::two_times_in_the_gap_are_one("0,30 2 * * *", "2026-03-28T12:00:00Z",
        &["03-29 03:00 +0200", "03-30 02:00 +0200"])]
    #[case::a_time_in_the_gap_and_the_one_at_its_end_are_one("0 2,3 * * *", "2026-03-28T12:00:00Z",
        &["03-29 03:00 +0200", "03-30 02:00 +0200"])]
    #[case::a_time_that_comes_twice_is_taken_once("30 2 * * *", "2026-10-24T12:00:00Z",
        &["10-25 02:30 +0200", "10-26 02:30 +0100"])]
    #[case::steps_of_hours_are_times_of_the_wall("0 */2 * * *", "2026-10-24T22:30:00Z",
        &["10-25 02:00 +0200", "10-25 04:00 +0100"])]
    #[case::every_hour_is_every_hour_that_passes("15 * * * *", "2026-10-24T23:30:00Z",
        &["10-25 02:15 +0200", "10-25 02:15 +0100", "10-25 03:15 +0100"])]
    #[case::every_hour_skips_what_is_not_there("15 * * * *", "2026-03-29T00:00:00Z",
        &["03-29 01:15 +0100", "03-29 03:15 +0200"])]
    fn clocks_that_are_put_forward_and_back(#[case] text: &str, #[case] from: &str, #[case] expected: &[&str]) {
        assert_eq!(times(text, "Europe/Berlin", from, expected.len()), expected);
    }

    #[test]
    fn a_second_look_within_the_repeated_hour_does_not_bring_the_time_again() {
        // 02:30 was at 00:30 UTC; at 01:10 UTC the clock shows 02:10 for the second time.
        let spec = ScheduleSpec::new(When::Cron { cron: "30 2 * * *".into(), zone: "Europe/Berlin".into() });
        let next = next(&spec, at("2026-10-25T01:10:00Z"), at("2026-10-25T01:10:00Z")).unwrap().unwrap();
        assert_eq!(next, at("2026-10-26T01:30:00Z"));
    }

    #[rstest]
    #[case("0 6 * * *", "Africa/Lubumbashi", &["05-31 06:00 +0200"])]
    #[case("0 6 29 2 *", "UTC", &["02-29 06:00 +0000"])]
    #[case("0 12 * * MON", "Asia/Kathmandu", &["06-01 12:00 +0545"])]
    #[case("0 0 30 12 *", "Pacific/Apia", &["12-30 00:00 +1300"])]
    fn zones_and_calendars(#[case] text: &str, #[case] zone: &str, #[case] expected: &[&str]) {
        assert_eq!(times(text, zone, "2026-05-31T00:00:00Z", 1), expected);
    }

    #[test]
    fn a_day_that_a_zone_skipped_is_over_when_the_next_begins() {
        // Samoa had no 2011-12-30.
        let apia = zone("Pacific/Apia").unwrap();
        let wall = "2011-12-30T12:00:00".parse().unwrap();
        assert_eq!(moment(apia, wall), Some(at("2011-12-30T10:00:00Z")));
    }

    #[rstest]
    #[case("2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z")]
    #[case("2026-01-01T00:14:59.999Z", "2026-01-01T00:15:00Z")]
    #[case("2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z")]
    #[case("2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z")]
    fn an_interval_keeps_its_beat(#[case] after: &str, #[case] expected: &str) {
        let spec = ScheduleSpec::new(When::Interval { seconds: 900 });
        assert_eq!(next(&spec, at(after), at("2026-01-01T00:00:00Z")).unwrap(), Some(at(expected)));
    }

    #[rstest]
    #[case("every day", "UTC")]
    #[case("0 0 6 * * *", "UTC")]
    #[case("61 * * * *", "UTC")]
    #[case("0 6 * * *", "Europe/Atlantis")]
    fn what_cannot_be_followed_is_refused(#[case] cron: &str, #[case] zone: &str) {
        let spec = ScheduleSpec::new(When::Cron { cron: cron.to_owned(), zone: zone.to_owned() });
        let error = spec.check().unwrap_err().to_string();
        assert!(error.contains(cron) || error.contains(zone), "{error}");
    }
}
