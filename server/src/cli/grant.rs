use clap::Args;

use super::{Failure, client::ClientArgs, output::Format, sql::Sql};

/// What is granted or taken back, as in SQL after its first word.
#[derive(Debug, Args)]
pub(super) struct Words {
    /// Such as: SELECT ON SCHEMA raw.hms TO ROLE researchers
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Words {
    /// `first`: GRANT or REVOKE.
    pub(super) async fn run(self, first: &str, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        Sql::of(format!("{first} {}", self.words.join(" "))).run(client, format).await
    }
}

/// Which grants are shown.
#[derive(Debug, Args)]
pub(super) struct Grants {
    /// Only those to somebody: `USER name`, `ROLE name` or PUBLIC
    #[arg(long, value_name = "WHO")]
    to: Option<String>,
    /// Only those that hold on a place: zone.schema.table, SCHEMA zone.schema or ZONE zone
    #[arg(long, value_name = "PLACE")]
    on: Option<String>,
}

impl Grants {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        let to = self.to.map(|who| format!(" TO {who}")).unwrap_or_default();
        let on = self.on.map(|place| format!(" ON {place}")).unwrap_or_default();
        Sql::of(format!("SHOW GRANTS{to}{on}")).run(client, format).await
    }
}
