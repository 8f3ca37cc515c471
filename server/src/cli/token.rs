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
        /// Days that the token is good for [default: for ever]
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
            Self::Create { name, role, schemas, granted_only, groups, days } => {
                let role = match role {
                    RoleArg::Admin => pb::Role::Admin,
                    RoleArg::Engineer => pb::Role::Engineer,
                    RoleArg::Analyst => pb::Role::Analyst,
                    RoleArg::Reader => pb::Role::Reader,
                };
                let lifetime_seconds = u64::from(days.unwrap_or(0)) * 86_400;
                let request = pb::CreateTokenRequest {
                    name,
                    role: role.into(),
                    schemas,
                    lifetime_seconds,
                    granted_only,
                    groups,
                    ..Default::default()
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
                let mut table = Table::new(["name", "role", "schemas", "created", "expires", "revoked", "id"]);
                for token in answer.tokens {
                    let role = token.role().as_str_name().trim_start_matches("ROLE_").to_ascii_lowercase();
                    table.push([
                        json!(token.name),
                        json!(role),
                        json!(token.schemas),
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
