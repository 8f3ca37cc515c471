use clap::{Subcommand, ValueEnum};
use mavis_proto::v1 as pb;
use serde_json::json;

use super::{
    Failure,
    client::ClientArgs,
    output::{Format, Table, time},
};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token; its secret is written to standard output, this once
    Create {
        /// Stands in logs and in the audit
        name: String,
        #[arg(long, value_enum)]
        role: RoleArg,
        /// A schema that may be read, as zone.schema; may be given more than once [default: all]
        #[arg(long = "schema", value_name = "ZONE.SCHEMA")]
        schemas: Vec<String>,
        /// By itself it reads nothing, only what is granted to its name, its role and its groups (`GRANT`)
        #[arg(long, conflicts_with = "schemas")]
        granted_only: bool,
        /// A role beside the built-in one, such as `researchers`; may be given more than once
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// SMART scopes, separated by spaces, such as 'patient/*.rs': nothing beyond them is there for the token
        #[arg(long, value_name = "SCOPES")]
        smart: Option<String>,
        /// Id of the Patient that scopes of `patient/` are about
        #[arg(long, value_name = "ID", requires = "smart")]
        patient: Option<String>,
        /// How long the token is good: 30d, 12h, 45m, 90s [default: for ever]
        #[arg(long, value_name = "TIME", value_parser = lifetime, conflicts_with = "days")]
        expires: Option<u64>,
        /// The same in days
        #[arg(long)]
        days: Option<u32>,
    },
    /// The tokens there are, without their secrets
    List,
    /// End a token, at once
    Revoke {
        /// Name or id
        token: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RoleArg {
    /// Everything, tokens included
    Admin,
    /// Sources, runs, mappings, quarantine and maintenance; and queries
    Engineer,
    /// Queries, and tables and views in an own schema of `work`
    Analyst,
    /// Queries only
    Reader,
}

impl TokenCommand {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        let mut tokens = client.tokens().await?;
        match self {
            Self::Create { name, role, schemas, granted_only, groups, smart, patient, expires, days } => {
                let role = match role {
                    RoleArg::Admin => pb::Role::Admin,
                    RoleArg::Engineer => pb::Role::Engineer,
                    RoleArg::Analyst => pb::Role::Analyst,
                    RoleArg::Reader => pb::Role::Reader,
                };
                let lifetime_seconds = expires.unwrap_or_else(|| u64::from(days.unwrap_or(0)) * 86_400);
                let request = pb::CreateTokenRequest {
                    name,
                    role: role.into(),
                    schemas,
                    lifetime_seconds,
                    granted_only,
                    groups,
                    smart: smart.unwrap_or_default(),
                    patient: patient.unwrap_or_default(),
                };
                let made = tokens.create_token(request).await?.into_inner();
                if format == Format::Table {
                    // Alone on standard output, so that a script can take it.
                    println!("{}", made.secret);
                    return Ok(());
                }
                let token = made.token.unwrap_or_default();
                let mut table = Table::new(["id", "name", "secret"]);
                table.push([json!(token.id), json!(token.name), json!(made.secret)]);
                table.print(format)
            }
            Self::List => {
                let answer = tokens.list_tokens(pb::ListTokensRequest {}).await?.into_inner();
                let mut table =
                    Table::new(["name", "role", "groups", "schemas", "smart", "created", "expires", "revoked", "id"]);
                for token in answer.tokens {
                    let role = token.role().as_str_name().trim_start_matches("ROLE_").to_ascii_lowercase();
                    table.push([
                        json!(token.name),
                        json!(role),
                        json!(token.groups),
                        if token.granted_only { json!("granted") } else { json!(token.schemas) },
                        json!(token.smart),
                        time(token.created_at),
                        time(token.expires_at),
                        time(token.revoked_at),
                        json!(token.id),
                    ]);
                }
                table.print(format)
            }
            Self::Revoke { token } => {
                tokens.revoke_token(pb::RevokeTokenRequest { name_or_id: token.clone() }).await?;
                eprintln!("revoked `{token}`");
                Ok(())
            }
        }
    }
}

/// Seconds of `30d`, `12h`, `45m`, `90s`.
fn lifetime(text: &str) -> Result<u64, String> {
    let wrong = || "write a number and a unit: 30d, 12h, 45m or 90s".to_owned();
    let unit = match text.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3_600,
        Some('m') => 60,
        Some('s') => 1,
        _ => return Err(wrong()),
    };
    let number = text.get(..text.len() - 1).and_then(|number| number.parse::<u64>().ok()).filter(|number| *number > 0);
    number.and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("30d", Some(2_592_000))]
    #[case("12h", Some(43_200))]
    #[case("45m", Some(2_700))]
    #[case("90s", Some(90))]
    #[case("0d", None)]
    #[case("30", None)]
    #[case("-1d", None)]
    #[case("d", None)]
    #[case("1é", None)]
    #[case("99999999999999999999d", None)]
    fn a_lifetime_has_a_number_and_a_unit(#[case] text: &str, #[case] seconds: Option<u64>) {
        assert_eq!(lifetime(text).ok(), seconds);
    }
}
