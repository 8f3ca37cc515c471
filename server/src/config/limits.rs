use std::{collections::HashMap, time::Duration};

use mavis_sql::RoleLimits;
use mavis_types::Role;
use serde::{Deserialize, Serialize};

/// What queries of one role may use, where that differs from `[query]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    pub admin: RoleLimitsConfig,
    pub engineer: RoleLimitsConfig,
    pub analyst: RoleLimitsConfig,
    pub reader: RoleLimitsConfig,
}

/// Limits of one role. They hold for every query, whichever door it comes through, those of a FHIR search or an export
/// among them.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoleLimitsConfig {
    /// Queries of all principals of the role that run at once; the others wait. Default: as many as may run at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<usize>,
    /// Queries of one principal that run at once; the others wait. Default: as many as may run at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_each: Option<usize>,
    /// Longest time of a query, in seconds. Default: that of `[query]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_seconds: Option<u64>,
    /// Memory of a query before it spills, in bytes. Default: that of `[query]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<usize>,
    /// Rows of an answer. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Bytes of an answer's values. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
}

impl LimitsConfig {
    pub(crate) fn by_role(&self) -> HashMap<Role, RoleLimits> {
        let of = |role: Role| match role {
            Role::Admin => self.admin,
            Role::Engineer => self.engineer,
            Role::Analyst => self.analyst,
            Role::Reader => self.reader,
        };
        Role::ALL.into_iter().map(|role| (role, of(role).limits())).collect()
    }
}

impl RoleLimitsConfig {
    fn limits(self) -> RoleLimits {
        RoleLimits {
            concurrent: self.concurrent,
            concurrent_each: self.concurrent_each,
            time: self.time_seconds.map(Duration::from_secs),
            memory_bytes: self.memory_bytes,
            rows: self.rows,
            result_bytes: self.result_bytes,
        }
    }
}
