use std::{path::PathBuf, sync::Arc};

use clap::Args;
use mavis_connectors::{
    Registry, Secrets, Selection, SourceSpec, generate,
    ssh::{HostKey, HostKeys, Remembered},
};
use mavis_types::SourceName;
use serde_json::{Value, json};

use super::{Failure, source::parameters};

/// What to make entries of.
#[derive(Debug, Args)]
pub(super) struct Generate {
    /// Name of the server: entries are called `<NAME>_<database>`, and their secrets are looked for under it
    /// (`POSTGRES_PASSWORD_<NAME>`, `SSH_PASSWORD_<NAME>`)
    name: String,
    /// Kind of the connector: postgres, mysql
    #[arg(long)]
    kind: String,
    /// A parameter of the kind, as for `source add`: `host=10.0.0.5`, `user=reader`, `ssh.host=gate`. Passwords come from
    /// this command's environment
    #[arg(long = "param", value_name = "KEY=VALUE")]
    params: Vec<String>,
    /// Take only databases of this name; `*` and `?` allowed; may be given several times
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out databases of this name
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Write here instead of to standard output; a file that is there is not overwritten
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Generate {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let failed = |error: mavis_connectors::Error| Failure::failed(error.to_string());
        let params = parameters(&self.params, true)?;
        let name = SourceName::new(&self.name).map_err(|error| Failure::usage(error.to_string()))?;
        // Every server of the kind has this one; a database that is declared is asked instead.
        let mut asked = params.clone();
        if self.kind == "postgres" {
            asked.entry("database").or_insert_with(|| json!("postgres"));
        }
        let spec = SourceSpec { name, kind: self.kind.clone(), params: Value::Object(asked), authoritative: false };
        let registry = Registry::built_in().with_host_keys(Arc::new(Told::default()));
        let source = registry.connect(&spec, &Secrets::from_environment()).map_err(failed)?;
        let databases = source.databases().await.map_err(failed)?;
        let selection = Selection { include: self.include, exclude: self.exclude };
        let entries = generate::entries(&self.name, &self.kind, &params, &databases, &selection).map_err(failed)?;
        eprintln!("{} of the server's {} databases are taken", entries.len(), databases.len());
        let text = serde_json::to_string_pretty(&entries).map_err(|error| Failure::failed(error.to_string()))?;
        match self.output {
            None => println!("{text}"),
            Some(path) => {
                let written = std::fs::File::create_new(&path)
                    .and_then(|mut file| std::io::Write::write_all(&mut file, format!("{text}\n").as_bytes()));
                written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
                eprintln!("written to {}; register them with `mavis source add --from`", path.display());
            }
        }
        Ok(())
    }
}

/// Host keys that are trusted for one command, and told.
#[derive(Debug, Default)]
struct Told(Remembered);

#[async_trait::async_trait]
impl HostKeys for Told {
    async fn known(&self, host: &str, port: u16) -> Result<Option<HostKey>, String> {
        self.0.known(host, port).await
    }

    async fn record(&self, host: &str, port: u16, key: &HostKey) -> Result<HostKey, String> {
        let recorded = self.0.record(host, port, key).await?;
        eprintln!("the host key of {host}:{port} is {recorded}; it is trusted for this command only");
        Ok(recorded)
    }
}
