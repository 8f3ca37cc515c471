use std::path::PathBuf;

use clap::{Args, Subcommand};
use mavis_connectors::SourceSpec;
use mavis_proto::v1 as pb;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    client::ClientArgs,
    generate,
    output::{Format, Table, optional, state_word, time},
    watch,
};

#[derive(Debug, Subcommand)]
pub(super) enum SourceCommand {
    /// Register a source, or all sources of a data_sources.json
    Add(Declaration),
    /// Replace kind, parameters and authority of a source
    Update(Declaration),
    /// The sources there are
    List,
    /// Try the connection stage by stage
    Test {
        /// Name of the source
        name: String,
    },
    /// Read what tables there are and profile them
    Discover {
        /// Name of the source
        name: String,
    },
    /// Look at many sources as one job: what is new or different is profiled and told
    DiscoverMany {
        /// Names of sources; none: all
        names: Vec<String>,
        /// Only queue the run and write its id
        #[arg(long)]
        no_wait: bool,
    },
    /// Accept changes of a source's tables that were held back
    Accept {
        /// Name of the source
        name: String,
    },
    /// Show the newest discovery report
    Report {
        /// Name of the source
        name: String,
    },
    /// Take a discovery report made elsewhere
    ImportReport {
        /// Name of the source
        name: String,
        /// The report, as JSON
        file: PathBuf,
    },
    /// Write entries of a data_sources.json for the databases of a server, without registering them
    Generate(generate::Generate),
    /// Forget the host key of an SSH server that was trusted when it was first seen: the next one that it shows is trusted
    ForgetHostKey {
        /// As sources declare it: HOST, or HOST:PORT where the port is not 22
        #[arg(value_name = "HOST[:PORT]")]
        gate: String,
    },
    /// Take a source out of the list; its tables and rows stay
    Remove {
        /// Name of the source
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Declaration {
    /// Name of the source; it becomes the schema of its tables
    #[arg(required_unless_present = "from")]
    name: Option<String>,
    /// Kind of the connector: files, fhir_files, sqlite, postgres, mysql, firebird, push
    #[arg(long, required_unless_present = "from")]
    kind: Option<String>,
    /// A parameter of the kind; `db.port=5432` sets `port` inside `db`. Numbers, true, false and JSON in [] or {} are
    /// taken as such, everything else as text. Passwords come from the server's environment
    #[arg(long = "param", value_name = "KEY=VALUE")]
    params: Vec<String>,
    /// All parameters at once, as a JSON object
    #[arg(long, value_name = "JSON", conflicts_with = "params")]
    params_json: Option<String>,
    /// Keep the ids of the source's FHIR resources
    #[arg(long)]
    authoritative: bool,
    /// Take every source of this data_sources.json: a list of `{"name", "type", "db": {"host", "port", "user",
    /// "database"}, "tables_to_include": [...]}`; see README.md
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "kind", "params", "params_json"])]
    from: Option<PathBuf>,
}

impl Declaration {
    fn specs(self, local: bool) -> Result<Vec<pb::SourceSpec>, Failure> {
        if let Some(path) = self.from {
            let json = read(&path)?;
            let specs = SourceSpec::from_data_sources(&json).map_err(|error| Failure::failed(error.to_string()))?;
            return Ok(specs
                .into_iter()
                .map(|spec| pb::SourceSpec {
                    name: spec.name.to_string(),
                    kind: spec.kind,
                    params_json: spec.params.to_string(),
                    authoritative: spec.authoritative || self.authoritative,
                })
                .collect());
        }
        let params = match self.params_json {
            Some(text) => {
                serde_json::from_str(&text).map_err(|error| Failure::usage(format!("--params-json: {error}")))?
            }
            None => Value::Object(parameters(&self.params, local)?),
        };
        Ok(vec![pb::SourceSpec {
            name: self.name.unwrap_or_default(),
            kind: self.kind.unwrap_or_default(),
            params_json: params.to_string(),
            authoritative: self.authoritative,
        }])
    }
}

/// Parameters from `key=value` texts. `local`: the server is on this machine, so a relative path is from here.
pub(super) fn parameters(texts: &[String], local: bool) -> Result<Map<String, Value>, Failure> {
    let mut params = Map::new();
    for text in texts {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Failure::usage(format!("`{text}` is not a parameter: write KEY=VALUE")))?;
        let value = match key {
            "path" if local => json!(absolute(value)),
            _ => parameter(value),
        };
        put(&mut params, key, value)?;
    }
    Ok(params)
}

fn parameter(text: &str) -> Value {
    let taken = text.starts_with(['[', '{']) || matches!(text, "true" | "false") || text.parse::<i64>().is_ok();
    match serde_json::from_str(text) {
        Ok(value) if taken => value,
        _ => json!(text),
    }
}

fn put(params: &mut Map<String, Value>, key: &str, value: Value) -> Result<(), Failure> {
    let Some((outer, inner)) = key.split_once('.') else {
        params.insert(key.to_owned(), value);
        return Ok(());
    };
    match params.entry(outer).or_insert_with(|| json!({})) {
        Value::Object(members) => put(members, inner, value),
        _ => Err(Failure::usage(format!("parameter `{outer}` is given as a value and as an object"))),
    }
}

fn absolute(path: &str) -> String {
    if path.contains("://") {
        return path.to_owned();
    }
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

fn read(path: &std::path::Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))
}

impl SourceCommand {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        match self {
            Self::Add(declaration) => declare(declaration, client, format, false).await,
            Self::Update(declaration) => declare(declaration, client, format, true).await,
            Self::List => {
                let sources =
                    client.ingest().await?.list_sources(pb::ListSourcesRequest {}).await?.into_inner().sources;
                listing(&sources).print(format)
            }
            Self::Test { name } => test(name, client, format).await,
            Self::Discover { name } => {
                let answer = client.ingest().await?.discover(pb::DiscoverRequest { name }).await?.into_inner();
                report(answer.report.unwrap_or_default(), format)
            }
            Self::DiscoverMany { names, no_wait } => {
                let mut ingest = client.ingest().await?;
                let run_id = mavis_types::RunId::new().to_string();
                ingest.discover_many(pb::DiscoverManyRequest { run_id: run_id.clone(), sources: names }).await?;
                if no_wait {
                    println!("{run_id}");
                    return Ok(());
                }
                watch::to_end(&mut ingest, &run_id, format).await
            }
            Self::Accept { name } => {
                let answer = client.ingest().await?.accept_drift(pb::AcceptDriftRequest { name }).await?.into_inner();
                report(answer.report.unwrap_or_default(), format)
            }
            Self::Report { name } => {
                let request = pb::GetDiscoveryReportRequest { name };
                let answer = client.ingest().await?.get_discovery_report(request).await?.into_inner();
                report(answer.report.unwrap_or_default(), format)
            }
            Self::ImportReport { name, file } => {
                let request = pb::ImportDiscoveryReportRequest { name, report_json: read(&file)? };
                let answer = client.ingest().await?.import_discovery_report(request).await?.into_inner();
                report(answer.report.unwrap_or_default(), format)
            }
            Self::Generate(generate) => Box::pin(generate.run()).await,
            Self::ForgetHostKey { gate } => {
                let (host, port) = host_and_port(&gate)?;
                let request = pb::ForgetHostKeyRequest { host: host.clone(), port: port.into() };
                client.ingest().await?.forget_host_key(request).await?;
                eprintln!("forgot the host key of {host}:{port}; the next one that it shows is trusted");
                Ok(())
            }
            Self::Remove { name } => {
                client.ingest().await?.remove_source(pb::RemoveSourceRequest { name: name.clone() }).await?;
                eprintln!("removed `{name}`; its tables and rows stay");
                Ok(())
            }
        }
    }
}

/// `gate`, `gate:2222`, `::1`, `[::1]:2222`.
fn host_and_port(server: &str) -> Result<(String, u16), Failure> {
    let wrong = || Failure::usage(format!("`{server}` is not a server: write HOST or HOST:PORT"));
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (server, 22),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || port == 0 { Err(wrong()) } else { Ok((host.to_owned(), port)) }
}

async fn declare(declaration: Declaration, client: &ClientArgs, format: Format, update: bool) -> Result<(), Failure> {
    let specs = declaration.specs(client.is_local())?;
    let mut ingest = client.ingest().await?;
    let (mut made, mut failed) = (Vec::new(), None);
    for spec in specs {
        let asked = spec.name.clone();
        let answer = if update {
            ingest.update_source(pb::UpdateSourceRequest { spec: Some(spec) }).await.map(|a| a.into_inner().source)
        } else {
            ingest.register_source(pb::RegisterSourceRequest { spec: Some(spec) }).await.map(|a| a.into_inner().source)
        };
        match answer {
            Ok(source) => {
                let became = source.as_ref().and_then(|source| source.spec.as_ref()).map(|spec| spec.name.as_str());
                if let Some(became) = became.filter(|became| *became != asked) {
                    eprintln!("`{asked}` is called `{became}` here: names are lower case letters, digits and _");
                }
                made.extend(source);
            }
            Err(status) => {
                let failure = Failure::from(status);
                eprintln!("error: {asked}: {failure}");
                failed = Some(Failure { exit: failure.exit, message: String::new() });
            }
        }
    }
    if !made.is_empty() {
        listing(&made).print(format)?;
    }
    failed.map_or(Ok(()), Err)
}

async fn test(name: String, client: &ClientArgs, format: Format) -> Result<(), Failure> {
    let what = Some(pb::test_source_request::What::Name(name.clone()));
    let stages = client.ingest().await?.test_source(pb::TestSourceRequest { what }).await?.into_inner().stages;
    let mut table = Table::new(["stage", "outcome", "milliseconds", "message"]);
    for stage in &stages {
        table.push([json!(stage.stage), json!(stage.outcome), json!(stage.millis), json!(stage.message)]);
    }
    table.print(format)?;
    match stages.iter().find(|stage| stage.outcome == "failed") {
        Some(stage) => Err(Failure::failed(format!("`{name}` fails at stage {}: {}", stage.stage, stage.message))),
        None => Ok(()),
    }
}

fn listing(sources: &[pb::Source]) -> Table {
    let mut table = Table::new(["name", "kind", "authoritative", "tables", "last_run", "at", "parameters"]);
    for source in sources {
        let spec = source.spec.clone().unwrap_or_default();
        table.push([
            json!(spec.name),
            json!(spec.kind),
            json!(spec.authoritative),
            json!(source.tables),
            optional(&state_word(source.last_run_state())),
            time(source.last_run_at),
            json!(spec.params_json),
        ]);
    }
    table
}

fn report(report: pb::DiscoveryReport, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        println!("{}", report.json);
        return Ok(());
    }
    let mut table = Table::new(["table", "in_the_lake", "kind", "mode", "columns", "key", "rows"]);
    for found in &report.tables {
        table.push([
            json!(found.name),
            json!(found.lake_name),
            json!(found.kind),
            json!(found.mode),
            json!(found.columns),
            json!(found.key),
            json!(found.row_estimate),
        ]);
    }
    table.print(format)?;
    for failure in &report.failures {
        eprintln!("warning: {}: {}", failure.table, failure.reason);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn parameters_nest_and_keep_their_types() {
        let texts = ["db.host=localhost", "db.port=5432", "tables=[\"a\"]", "code=007x", "strict=true"];
        let params = parameters(&texts.map(str::to_owned), false).unwrap();
        assert_eq!(
            Value::Object(params),
            json!({"db": {"host": "localhost", "port": 5432}, "tables": ["a"], "code": "007x", "strict": true})
        );
    }

    #[rstest]
    #[case("gate", Some(("gate", 22)))]
    #[case("gate:2222", Some(("gate", 2222)))]
    #[case("::1", Some(("::1", 22)))]
    #[case("[::1]:2222", Some(("::1", 2222)))]
    #[case("gate:ssh", None)]
    #[case(":22", None)]
    fn a_server_is_a_host_and_perhaps_a_port(#[case] text: &str, #[case] expected: Option<(&str, u16)>) {
        let expected = expected.map(|(host, port)| (host.to_owned(), port));
        assert_eq!(host_and_port(text).ok(), expected);
    }

    #[rstest]
    #[case("path")]
    #[case("=x")]
    fn a_parameter_without_a_value_is_wrong_usage(#[case] text: &str) {
        assert_eq!(parameters(&[text.to_owned()], false).unwrap_err().exit, Failure::USAGE);
    }

    #[test]
    fn a_relative_path_is_from_here_and_a_url_is_left_alone() {
        assert!(std::path::Path::new(&absolute("data/*.csv")).is_absolute());
        assert_eq!(absolute("s3://bucket/x"), "s3://bucket/x");
    }
}
