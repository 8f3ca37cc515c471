use std::{collections::BTreeMap, path::PathBuf};

use mavis_types::Role;
use serde::{Deserialize, Serialize};

/// An OpenID Connect issuer whose signed tokens (JWT) are taken besides Mavis's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// What stands in the tokens' `iss`, letter by letter: an `https` URL (`http` on this machine only).
    pub issuer: String,
    /// Short name that the names of its principals begin with: `NAME:subject`. Letters, digits, `-`, `_` and `.`.
    /// Default: the issuer's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One of these must stand in the tokens' `aud`.
    pub audience: Vec<String>,
    /// URL of the issuer's keys. Default: asked for at `ISSUER/.well-known/openid-configuration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// PEM file of the authorities that vouch for the issuer's certificate, in the place of the machine's own.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// Signatures that are taken, of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA. Default: all of
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
    /// Claim that names the principal in grants, logs and the audit. The issuer must give no two people the same one,
    /// nor one person's to another later. Default: `sub`.
    #[serde(default = "sub")]
    pub name_claim: String,
    /// Claim with the groups, a list or a text; `a.b` is `b` inside `a`, where there is no claim `a.b`. Default: `groups`.
    #[serde(default = "groups")]
    pub groups_claim: String,
    /// Claim with the id of the Patient that SMART scopes `patient/...` are about. Default: `patient`.
    #[serde(default = "patient")]
    pub patient_claim: String,
    /// Role by group of the issuer; of several the one that may most. Whoever has none is refused.
    #[serde(default)]
    pub roles: BTreeMap<String, Role>,
    /// Group of Mavis by group of the issuer: what is granted to groups. Others are not taken over. Default: none.
    #[serde(default)]
    pub groups: BTreeMap<String, String>,
    /// Whether analysts and readers read only what is granted to their names, roles and groups; else everything that no
    /// filter or mask hides. Default: true.
    #[serde(default = "yes")]
    pub granted_only: bool,
    /// Role of a token with SMART scopes and without a group that has a role: apps often have no groups. Default: none,
    /// it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smart_role: Option<Role>,
    /// By how much the clocks may differ, in seconds. Default: 60.
    #[serde(default = "leeway")]
    pub leeway_seconds: u64,
    /// The keys are fetched anew, in the background, after this many seconds, or sooner if the issuer says so.
    /// Default: 300.
    #[serde(default = "refresh")]
    pub refresh_seconds: u64,
    /// Least time between two fetches for tokens with a key that is not known, in seconds. Default: 10.
    #[serde(default = "refetch")]
    pub refetch_seconds: u64,
    /// How long keys are good while the issuer cannot be asked, in seconds; then its tokens are refused. Default: 86400.
    #[serde(default = "oldest")]
    pub oldest_seconds: u64,
}

fn sub() -> String {
    "sub".to_owned()
}

fn groups() -> String {
    "groups".to_owned()
}

fn patient() -> String {
    "patient".to_owned()
}

fn yes() -> bool {
    true
}

fn leeway() -> u64 {
    60
}

fn refresh() -> u64 {
    300
}

fn refetch() -> u64 {
    10
}

fn oldest() -> u64 {
    86_400
}
