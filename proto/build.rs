//! Compiles the contract without a system `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 8] = [
    "mavis/v1/run.proto",
    "mavis/v1/source.proto",
    "mavis/v1/ingest.proto",
    "mavis/v1/schedule.proto",
    "mavis/v1/mapping.proto",
    "mavis/v1/quarantine.proto",
    "mavis/v1/token.proto",
    "mavis/v1/maintenance.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=mavis");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("mavis.v1.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
