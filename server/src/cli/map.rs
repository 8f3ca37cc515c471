use std::path::{Path, PathBuf};

use clap::Subcommand;
use mavis_proto::v1 as pb;
use serde_json::json;

use super::{
    Failure,
    client::ClientArgs,
    output::{Format, Table, time},
};

#[derive(Debug, Subcommand)]
pub(super) enum MapCommand {
    /// Mappings suggested for a discovered source; nothing is stored
    Suggest {
        /// Name of a source that was discovered
        source: String,
        /// Write each suggestion to a file in this folder instead of to standard output
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// What is wrong with mappings; nothing is stored
    Check {
        /// Mappings, as TOML files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Store mappings; the next ingest of their source runs them
    Apply {
        /// Mappings, as TOML files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Name of the mapping [default: the file's name without its ending]
        #[arg(long)]
        name: Option<String>,
    },
    /// The mappings there are
    List,
    /// Load a code map from a CSV file or a ConceptMap
    Codes {
        /// The name that mappings use: code_map('NAME', ...)
        name: String,
        /// CSV with source_code,target_code,target_system,target_display, or a ConceptMap as JSON
        file: PathBuf,
    },
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

impl MapCommand {
    pub(super) async fn run(self, client: &ClientArgs, format: Format) -> Result<(), Failure> {
        match self {
            Self::Suggest { source, out } => suggest(source, out, client, format).await,
            Self::Check { files } => check(&files, client, format).await,
            Self::Apply { files, name } => {
                if name.is_some() && files.len() != 1 {
                    return Err(Failure::usage("--name names one mapping: give one file"));
                }
                let mut mapping = client.mapping().await?;
                let mut applied = Vec::new();
                for file in &files {
                    let name = name.clone().unwrap_or_else(|| stem(file));
                    let request = pb::ApplyMappingRequest { name, text: read(file)? };
                    let answer = mapping.apply_mapping(request).await.map_err(|status| {
                        let failure = Failure::from(status);
                        Failure { message: format!("{}: {}", file.display(), failure.message), ..failure }
                    })?;
                    applied.extend(answer.into_inner().mapping);
                }
                listing(&applied).print(format)
            }
            Self::List => {
                let answer = client.mapping().await?.list_mappings(pb::ListMappingsRequest {}).await?.into_inner();
                listing(&answer.mappings).print(format)
            }
            Self::Codes { name, file } => {
                let request = pb::SetCodeMapRequest { name: name.clone(), text: read(&file)? };
                let codes = client.mapping().await?.set_code_map(request).await?.into_inner().codes;
                eprintln!("code map `{name}` has {codes} codes");
                Ok(())
            }
        }
    }
}

async fn suggest(source: String, out: Option<PathBuf>, client: &ClientArgs, format: Format) -> Result<(), Failure> {
    let request = pb::SuggestMappingsRequest { source: source.clone() };
    let answer = client.mapping().await?.suggest_mappings(request).await?.into_inner();
    let mut written = Table::new(["resource", "confidence", "unmapped", "mapping"]);
    for (number, suggestion) in answer.suggestions.iter().enumerate() {
        let mapping = match &out {
            Some(folder) => {
                let name = format!("{source}_{}_{}.toml", suggestion.resource.to_ascii_lowercase(), number + 1);
                let path = folder.join(name);
                std::fs::create_dir_all(folder)?;
                std::fs::write(&path, &suggestion.text)?;
                path.display().to_string()
            }
            None => suggestion.text.clone(),
        };
        if out.is_none() && format == Format::Table {
            println!("# {}, confidence {:.2}", suggestion.resource, suggestion.confidence);
            for column in &suggestion.unmapped {
                println!("# without a place: {column}");
            }
            println!("{mapping}");
        }
        written.push([
            json!(suggestion.resource),
            json!(suggestion.confidence),
            json!(suggestion.unmapped),
            json!(mapping),
        ]);
    }
    if answer.suggestions.is_empty() {
        eprintln!("no table of `{source}` looks like patients or encounters");
    }
    if out.is_some() || format != Format::Table { written.print(format) } else { Ok(()) }
}

async fn check(files: &[PathBuf], client: &ClientArgs, format: Format) -> Result<(), Failure> {
    let mut mapping = client.mapping().await?;
    let mut problems = Table::new(["file", "at", "problem"]);
    let mut wrong = 0;
    for file in files {
        let request = pb::CheckMappingRequest { text: read(file)? };
        let found = mapping.check_mapping(request).await?.into_inner().problems;
        wrong += usize::from(!found.is_empty());
        for problem in found {
            problems.push([json!(file.display().to_string()), json!(problem.place), json!(problem.message)]);
        }
    }
    if wrong == 0 {
        eprintln!("good");
        return Ok(());
    }
    problems.print(format)?;
    Err(Failure::failed(format!("{wrong} of {} mappings cannot run: correct what is listed", files.len())))
}

fn listing(mappings: &[pb::Mapping]) -> Table {
    let mut table = Table::new(["name", "version", "resource", "applied"]);
    for mapping in mappings {
        table.push([json!(mapping.name), json!(mapping.version), json!(mapping.resource), time(mapping.applied_at)]);
    }
    table
}
