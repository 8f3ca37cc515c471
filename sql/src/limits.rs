use std::{collections::HashMap, time::Duration};

use mavis_types::{Role, TokenId};

use crate::Error;

/// What [`Error::Limit`] calls a time that the request asked for.
pub const OWN_TIME: &str = "timeout";

/// What one query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Planning included.
    pub time: Duration,
    pub memory_bytes: usize,
    /// Rows of the answer; more are cut off with an error, never silently. `None`: no limit.
    pub rows: Option<u64>,
    /// Bytes of the answer's values in memory; more are cut off with an error. `None`: no limit.
    pub result_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(300), memory_bytes: 2 << 30, rows: None, result_bytes: None }
    }
}

/// What the queries of one role may use; `None`: what every query may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoleLimits {
    /// Queries of all principals of the role that run at once.
    pub concurrent: Option<usize>,
    /// Queries of one principal that run at once.
    pub concurrent_each: Option<usize>,
    pub time: Option<Duration>,
    pub memory_bytes: Option<usize>,
    pub rows: Option<u64>,
    pub result_bytes: Option<u64>,
}

/// The limits of an engine, by role.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByRole {
    all: Limits,
    roles: HashMap<Role, RoleLimits>,
}

impl ByRole {
    pub(crate) fn new(all: Limits, roles: HashMap<Role, RoleLimits>) -> Self {
        Self { all, roles }
    }

    pub(crate) fn role(&self, role: Role) -> RoleLimits {
        self.roles.get(&role).copied().unwrap_or_default()
    }

    /// What a query may use: what its request asks for, or what every query may, within what the role may.
    pub(crate) fn of(&self, principal: TokenId, role: Role, asked: Option<Limits>) -> Allowed {
        let own = self.role(role);
        // A role may be allowed more than every query; a request gets no more than the role.
        let base = asked.unwrap_or(Limits {
            time: own.time.unwrap_or(self.all.time),
            memory_bytes: own.memory_bytes.unwrap_or(self.all.memory_bytes),
            rows: own.rows.or(self.all.rows),
            result_bytes: own.result_bytes.or(self.all.result_bytes),
        });
        // Shorter than without asking: whoever asked is told so.
        let own_time = asked.is_some_and(|asked| asked.time < own.time.unwrap_or(self.all.time));
        let limits = Limits {
            time: own.time.map_or(base.time, |most| base.time.min(most)),
            memory_bytes: own.memory_bytes.map_or(base.memory_bytes, |most| base.memory_bytes.min(most)),
            rows: least(base.rows, own.rows),
            result_bytes: least(base.result_bytes, own.result_bytes),
        };
        Allowed { limits, role, principal, own_time }
    }
}

fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The limits of one query, and whose they are; says what a query hears that reaches one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) limits: Limits,
    pub(crate) role: Role,
    pub(crate) principal: TokenId,
    /// Whether the request asked for its limit of time.
    pub(crate) own_time: bool,
}

impl Allowed {
    /// The same for a statement that writes what it reads: it answers nobody with rows.
    pub(crate) fn to_write(self) -> Self {
        Self { limits: Limits { rows: None, result_bytes: None, ..self.limits }, ..self }
    }

    pub(crate) fn out_of_time(&self) -> Error {
        let time = seconds(self.limits.time);
        if self.own_time {
            return self.own(&format!("the request gave the query {time}: give it more, or ask for less"));
        }
        self.reached("time limit", &format!("may take {time}; ask for less"))
    }

    pub(crate) fn out_of_turn(&self) -> Error {
        let time = seconds(self.limits.time);
        if self.own_time {
            return self.own(&format!(
                "the request gave the query {time}, and it waited as long for its turn; try again later"
            ));
        }
        self.reached(
            "time limit",
            &format!("may take {time}, and this one waited as long for its turn; try again later"),
        )
    }

    pub(crate) fn out_of_memory(&self) -> Error {
        let memory = bytes(self.limits.memory_bytes as u64);
        let what = format!(
            "may use {memory}, where all queries together leave as much; read fewer rows or columns, or group by less"
        );
        self.reached("memory limit", &what)
    }

    pub(crate) fn too_many_rows(&self) -> Error {
        let rows = self.limits.rows.unwrap_or_default();
        self.reached("row limit", &format!("may answer with {rows} rows, and there are more; use LIMIT or WHERE"))
    }

    pub(crate) fn too_many_bytes(&self) -> Error {
        let size = bytes(self.limits.result_bytes.unwrap_or_default());
        self.reached(
            "result size limit",
            &format!("may answer with {size}, and there is more; use LIMIT or fewer columns"),
        )
    }

    pub(crate) fn too_many_waiting(&self, queued: usize, own: usize) -> Error {
        let what = format!(
            "waits while {queued} queries may wait at most, {own} of the same principal do, and nobody may take all \
             places; try again in a moment"
        );
        self.reached("queue limit", &what)
    }

    /// The request's own limit, which is nobody else's.
    fn own(&self, what: &str) -> Error {
        metrics::counter!("mavis_sql_limits_total", "limit" => OWN_TIME, "role" => self.role.as_str()).increment(1);
        Error::Limit { limit: OWN_TIME, detail: what.to_owned() }
    }

    fn reached(&self, limit: &'static str, what: &str) -> Error {
        metrics::counter!("mavis_sql_limits_total", "limit" => limit, "role" => self.role.as_str()).increment(1);
        Error::Limit { limit, detail: format!("a query of role `{}` {what}", self.role.as_str()) }
    }
}

fn seconds(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{} s", time.as_secs()) } else { format!("{:.1} s", time.as_secs_f64()) }
}

/// In the largest unit of which there is one at least.
fn bytes(count: u64) -> String {
    let (unit, name) = match count {
        0..1_024 => return format!("{count} bytes"),
        1_024..1_048_576 => (1_u64 << 10, "KiB"),
        1_048_576..1_073_741_824 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    if count.is_multiple_of(unit) {
        format!("{} {name}", count / unit)
    } else {
        format!("{}.{} {name}", count / unit, count % unit * 10 / unit)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(17, "17 bytes")]
    #[case(1 << 30, "1 GiB")]
    #[case(3 << 29, "1.5 GiB")]
    #[case(64 << 20, "64 MiB")]
    fn sizes_are_told_in_units(#[case] count: u64, #[case] text: &str) {
        assert_eq!(bytes(count), text);
    }

    #[test]
    fn a_request_gets_no_more_than_the_role_and_a_role_may_get_more_than_all() {
        let me = TokenId::new();
        let all = Limits { time: Duration::from_secs(10), memory_bytes: 100, rows: None, result_bytes: None };
        let analyst = RoleLimits { time: Some(Duration::from_secs(5)), rows: Some(7), ..RoleLimits::default() };
        let admin = RoleLimits { time: Some(Duration::from_secs(60)), ..RoleLimits::default() };
        let by = ByRole::new(all, [(Role::Analyst, analyst), (Role::Admin, admin)].into());
        assert_eq!(by.of(me, Role::Reader, None).limits, all);
        assert_eq!(by.of(me, Role::Admin, None).limits.time, Duration::from_secs(60));
        let limits =
            by.of(me, Role::Analyst, Some(Limits { time: Duration::from_secs(8), rows: Some(9), ..all })).limits;
        assert_eq!((limits.time, limits.rows), (Duration::from_secs(5), Some(7)));
        let limits =
            by.of(me, Role::Analyst, Some(Limits { time: Duration::from_secs(2), rows: Some(3), ..all })).limits;
        assert_eq!((limits.time, limits.rows), (Duration::from_secs(2), Some(3)));
    }

    #[test]
    fn whoever_reaches_a_limit_hears_which_its_value_and_whose_it_is() {
        let limits = Limits { time: Duration::from_secs(30), rows: Some(7), ..Limits::default() };
        let allowed = Allowed { limits, role: Role::Analyst, principal: TokenId::new(), own_time: false };
        let told = allowed.out_of_time().to_string();
        assert!(
            told.starts_with("time limit reached: ") && told.contains("30 s") && told.contains("`analyst`"),
            "{told}"
        );
        let told = allowed.too_many_rows().to_string();
        assert!(
            told.starts_with("row limit reached: ") && told.contains("7 rows") && told.contains("`analyst`"),
            "{told}"
        );
    }

    #[test]
    fn whoever_asked_for_less_time_is_told_that_it_was_asked_for() {
        let all = Limits { time: Duration::from_secs(10), ..Limits::default() };
        let reader = RoleLimits { time: Some(Duration::from_secs(5)), ..RoleLimits::default() };
        let by = ByRole::new(all, [(Role::Reader, reader)].into());
        let of = |role, seconds| {
            let asked = Limits { time: Duration::from_secs(seconds), ..all };
            by.of(TokenId::new(), role, Some(asked)).out_of_time().to_string()
        };
        let told = of(Role::Reader, 2);
        assert!(told.starts_with("timeout reached: the request gave the query 2 s"), "{told}");
        assert!(!told.contains("role"), "{told}");
        assert!(of(Role::Reader, 8).starts_with("time limit reached: a query of role `reader` may take 5 s"));
        assert!(of(Role::Analyst, 8).starts_with("timeout reached"));
        assert!(of(Role::Analyst, 3_600).starts_with("time limit reached"));
    }
}
