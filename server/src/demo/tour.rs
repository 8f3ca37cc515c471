//! Commands that work when they are pasted.

use crate::boot::Server;

/// Prints how to ask the running demo, at every door.
pub(super) fn print(server: &Server) {
    print!("{}", text(server));
}

fn text(server: &Server) -> String {
    let (http, grpc) = (server.http_address(), server.grpc_address());
    let token = server.data().token_file();
    let token = quoted(&token.display().to_string());
    let mavis = std::env::current_exe().map_or_else(|_| "mavis".to_owned(), |path| quoted(&path.display().to_string()));
    format!(
        r#"
4. Serving HTTP on {http} and gRPC with Flight SQL on {grpc} until Ctrl-C. In another terminal:

export MAVIS_TOKEN=$(cat {token}) MAVIS_SERVER={grpc}

# SQL over HTTP: patients by gender, from both hospitals
curl -s http://{http}/api/v1/sql -H "Authorization: Bearer $MAVIS_TOKEN" -H "Content-Type: application/json" \
  -d '{{"sql": "SELECT gender, count(*) AS patients FROM fhir.r4.patient GROUP BY gender ORDER BY patients DESC"}}'

# FHIR: three patients named Martin
curl -s "http://{http}/fhir/Patient?family=martin&_count=3" -H "Authorization: Bearer $MAVIS_TOKEN"

# The command line: the source as it is, and what cleaning made of it
{mavis} sql "SELECT date_naissance, count(*) AS n FROM raw.hms.hms_patient GROUP BY 1 ORDER BY n DESC LIMIT 5"
{mavis} sql "SELECT code_service, count(*) AS stays FROM processed.hms.acs_hospitalization GROUP BY 1 ORDER BY 2 DESC LIMIT 5"
{mavis} quarantine list --limit 5

# Python: pip install adbc-driver-flightsql pyarrow
python3 - <<'PYTHON'
import os
import adbc_driver_flightsql.dbapi as flight
from adbc_driver_flightsql import DatabaseOptions
bearer = {{DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer " + os.environ["MAVIS_TOKEN"]}}
with flight.connect("grpc://{grpc}", db_kwargs=bearer, autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT count(*) AS observations FROM fhir.r4.observation")
    print(cursor.fetch_arrow_table())
PYTHON
"#
    )
}

/// A path as a shell reads it back.
fn quoted(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/tmp/mavis", "/tmp/mavis")]
    #[case("/tmp/it's here", r"'/tmp/it'\''s here'")]
    fn paths_survive_the_shell(#[case] path: &str, #[case] written: &str) {
        assert_eq!(quoted(path), written);
    }
}
