use std::{fmt, future::Future, pin::pin};

use futures::future::poll_fn;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

/// Bytes of a stack of a thread that reads, plans or runs statements, which go as deep as statements do. (Of what is not
/// used, no memory is taken.)
pub const STACK: usize = 64 << 20;

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
            .thread_stack_size(STACK)
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

    /// Short work on the caller's own thread, which saves two changes of threads: whatever it spawns runs here all the same.
    pub(crate) fn beside<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        let here = self.runtime.as_ref().map(|runtime| runtime.handle().clone());
        async move {
            let mut work = pin!(work);
            poll_fn(|cx| {
                let _entered = here.as_ref().map(Handle::enter);
                work.as_mut().poll(cx)
            })
            .await
        }
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
