//! The demo: a server that makes its own sources, fills all zones from them, tells what became of every row, and serves.

mod fill;
mod report;
mod samples;
mod sources;
mod tour;

use anyhow::Context;
use mavis_types::Principal;

use crate::{
    auth::Door,
    boot::{Server, stop_signal},
    closed,
    config::Config,
};

/// Runs the demo; with `once` it ends after the table instead of serving.
///
/// # Errors
/// What failed and what to do.
pub async fn run(config: Config, once: bool) -> anyhow::Result<()> {
    let server = Box::pin(Server::start(config)).await?;
    let mut signal = tokio::spawn(stop_signal());
    let filled = tokio::select! {
        filled = Box::pin(fill_and_tell(&server)) => filled,
        // What is under way comes to a commit, and the next demo goes on from there.
        stopped = &mut signal => {
            server.stop().await;
            return stopped.context("the signal handler stopped")?;
        }
    };
    if filled.is_err() || once {
        server.stop().await;
        return filled;
    }
    tour::print(&server);
    signal.await.context("the signal handler stopped")??;
    server.stop().await;
    Ok(())
}

async fn fill_and_tell(server: &Server) -> anyhow::Result<()> {
    let by = administrator(server).await?;
    let folder = server.data().root().join(closed::SAMPLES);
    eprintln!("1. four sample sources in {}", folder.display());
    let samples = samples::write(&folder).await?;
    eprintln!("2. registering, discovering and ingesting them into raw, processed and FHIR");
    let before = report::versions(server.app()).await?;
    let sources = sources::sources(&samples)?;
    let filled = Box::pin(fill::fill(server.app(), &by, &sources)).await?;
    let after = report::versions(server.app()).await?;
    eprintln!("3. what became of every row");
    println!("{}", report::table(server.app(), &by, &filled).await?.drawn());
    if before == after {
        println!("Nothing changed in the sources: no table has a new version, no data was written.");
    }
    Ok(())
}

/// The owner of the data folder, who runs the demo.
async fn administrator(server: &Server) -> anyhow::Result<Principal> {
    let file = server.data().token_file();
    let token = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let principal = server.app().auth.authenticate(Some(token.trim()), None, Door::Grpc).await;
    principal.with_context(|| format!("the token in {} is no longer good", file.display()))
}
