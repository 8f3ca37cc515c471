//! FHIR clients that others have written: what they take is what a FHIR server answers.

use std::{path::Path, process::Command};

use mavis_tests::{Server, node_packages, python, shared, write};

fn run(mut command: Command) -> String {
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn script(server: &Server, name: &str, text: &str) -> std::path::PathBuf {
    let path = server.scratch().join(name);
    write(&path, text).unwrap();
    path
}

fn arguments(command: &mut Command, server: &Server) {
    command.arg(format!("http://{}/fhir", server.http)).arg(server.token().unwrap());
}

#[tokio::test]
async fn fhir_kit_client_reads_writes_searches_and_walks() {
    let Some(packages) = node_packages() else { return };
    let server = Server::start().await.unwrap();
    let script = script(&server, "kit.mjs", include_str!("clients/kit.mjs"));
    let mut command = Command::new("node");
    command.arg(script).arg(Path::new(&packages));
    arguments(&mut command, &server);
    assert_eq!(run(command).trim(), "ok");
}

#[tokio::test]
async fn fhir_resources_parses_what_is_answered_about_120_patients() {
    let (Some(python), Some(folder)) = (python(), shared("data/synthea-120")) else { return };
    let server = Server::start().await.unwrap();
    server.mavis(&["fhir", "import", folder.to_str().unwrap()]).unwrap().ok().unwrap();
    let script = script(&server, "resources.py", include_str!("clients/resources.py"));
    let mut command = Command::new(python);
    command.arg(script);
    arguments(&mut command, &server);
    assert!(run(command).starts_with("ok"));
}
