//! What a text said, put together: as Java's calendar does where it is lenient. What was said last decides.

use chrono::NaiveDate;

/// What a text can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Era,
    Year,
    WeekYear,
    /// From 0.
    Month,
    WeekOfYear,
    DayOfYear,
    Day,
    /// From 0, Sunday.
    Weekday,
    /// 1 for the afternoon.
    Half,
    HourOfDay,
    HourOfHalf,
    Minute,
    Second,
    Milli,
    /// Minutes east of Greenwich.
    Zone,
}

/// Values of parts, each with its place in the order in which they were said.
#[derive(Debug, Default)]
pub(super) struct Said(Vec<(Part, i64)>);

impl Said {
    pub(super) fn say(&mut self, part: Part, value: i64) {
        self.0.retain(|(other, _)| *other != part);
        self.0.push((part, value));
    }

    /// The value, and from 1 when it was said.
    fn of(&self, part: Part) -> Option<(usize, i64)> {
        let place = self.0.iter().position(|(other, _)| *other == part)?;
        self.0.get(place).map(|(_, value)| (place + 1, *value))
    }

    fn value(&self, part: Part) -> Option<i64> {
        self.of(part).map(|(_, value)| value)
    }

    /// When it was said; 0 for never.
    fn when(&self, part: Part) -> usize {
        self.of(part).map_or(0, |(when, _)| when)
    }

    /// Milliseconds since 1970; `None` where it is too far away.
    pub(super) fn millis(&self) -> Option<i64> {
        let days = self.days()?;
        let minutes = self.hours()?.checked_mul(60)?.checked_add(self.value(Part::Minute).unwrap_or(0))?;
        let minutes = minutes.checked_sub(self.value(Part::Zone).unwrap_or(0))?;
        let seconds = minutes.checked_mul(60)?.checked_add(self.value(Part::Second).unwrap_or(0))?;
        let millis = seconds.checked_mul(1_000)?.checked_add(self.value(Part::Milli).unwrap_or(0))?;
        days.checked_mul(86_400_000)?.checked_add(millis)
    }

    fn hours(&self) -> Option<i64> {
        let (hour, half) = (self.when(Part::HourOfHalf), self.when(Part::Half));
        let of_day = self.when(Part::HourOfDay);
        let by_half = if hour > 0 && half > 0 { hour.max(half) } else { 0 };
        if of_day > 0 && of_day > by_half {
            return self.value(Part::HourOfDay);
        }
        let afternoon = self.value(Part::Half).unwrap_or(0) * 12;
        self.value(Part::HourOfHalf).unwrap_or(0).checked_add(afternoon)
    }

    /// Days since 1970.
    fn days(&self) -> Option<i64> {
        let year = self.value(Part::Year).unwrap_or(1970);
        let year = if self.value(Part::Era) == Some(0) { 1_i64.checked_sub(year)? } else { year };
        if self.when(Part::WeekYear) > self.when(Part::Year) {
            return of_week(self.value(Part::WeekYear)?, self.value(Part::WeekOfYear), self.value(Part::Weekday));
        }
        let (day, day_of_year) = (self.when(Part::Day), self.when(Part::DayOfYear));
        let (week, weekday) = (self.when(Part::WeekOfYear), self.when(Part::Weekday));
        let by_week = if week > 0 && weekday > 0 { week.max(weekday) } else { 0 };
        let last = day.max(day_of_year).max(by_week);
        if last == 0 && week > 0 || last > 0 && last == by_week {
            return of_week(year, self.value(Part::WeekOfYear), self.value(Part::Weekday));
        }
        if last > 0 && last == day_of_year {
            return first_of(year, 0)?.checked_add(self.value(Part::DayOfYear)?)?.checked_sub(1);
        }
        let first = first_of(year, self.value(Part::Month).unwrap_or(0))?;
        match (self.value(Part::Day), self.value(Part::Weekday)) {
            (Some(day), _) => first.checked_add(day)?.checked_sub(1),
            // the first of that name in the month
            (None, Some(weekday)) => Some(first + (weekday - from_sunday(first)).rem_euclid(7)),
            (None, None) => Some(first),
        }
    }
}

/// Days since 1970 of the first of a month, which counts on into other years.
fn first_of(year: i64, month: i64) -> Option<i64> {
    let year = i32::try_from(year.checked_add(month.div_euclid(12))?).ok()?;
    let month = u32::try_from(month.rem_euclid(12) + 1).ok()?;
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    Some(NaiveDate::from_ymd_opt(year, month, 1)?.signed_duration_since(epoch).num_days())
}

fn from_sunday(days: i64) -> i64 {
    let thursday = 4;
    (days + thursday).rem_euclid(7)
}

/// A day of a week (the first of either if left out); the first week has the 1st of January.
fn of_week(year: i64, week: Option<i64>, weekday: Option<i64>) -> Option<i64> {
    let first = first_of(year, 0)?;
    let sunday = first - from_sunday(first);
    let weeks = week.unwrap_or(1).checked_sub(1)?.checked_mul(7)?;
    sunday.checked_add(weeks)?.checked_add(weekday.unwrap_or(0))
}
