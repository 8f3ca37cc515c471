use std::{fmt, future::Future};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// The threads that plan and run queries, apart from those that serve the doors.
pub(crate) struct Cpu {
    runtime: Option<Runtime>,
}

impl Cpu {
    /// `threads`: as many as a plan has partitions.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("mavis-query")
            .thread_stack_size(8 << 20)
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    pub(crate) fn spawn<F>(&self, work: F) -> Option<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.as_ref().map(|runtime| runtime.spawn(work))
    }
}

impl Drop for Cpu {
    /// The last engine may be dropped inside another runtime, where waiting for these threads would panic.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cpu").finish_non_exhaustive()
    }
}
