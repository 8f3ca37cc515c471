use tokio::runtime::Handle;

use super::Client;
use crate::{
    Error,
    reading::{Halt, Output},
};

/// What fetching needs; on a blocking thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Net<'a> {
    pub(crate) client: &'a Client,
    pub(crate) runtime: &'a Handle,
    /// Who reads; without anybody, a fetch ends.
    pub(crate) output: Option<&'a Output>,
}

impl Net<'_> {
    /// Waits for something, for as long as somebody waits for us.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Halt> {
        self.runtime.block_on(async {
            match self.output {
                None => work.await.map_err(Halt::from),
                Some(output) => tokio::select! {
                    result = work => result.map_err(Halt::from),
                    () = output.closed() => Err(Halt::Dropped),
                },
            }
        })
    }
}
