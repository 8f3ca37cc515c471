//! A way to a counterpart that can be held up in the middle of what it answers.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
};

#[derive(Debug, Default)]
struct State {
    /// Bytes that may still come through; `None`: any.
    left: Option<u64>,
    held: bool,
}

/// Carries connections to a port of this machine, until it is told to hold what comes back.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

impl Gate {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Self { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let state = Arc::clone(&gate.state);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        _ = carry(near_in, far_out, None) => {}
                        _ = carry(far_in, near_out, Some(&state)) => {}
                    }
                });
            }
        });
        gate
    }

    /// Lets so many bytes of all connections together come back from now on, and nothing after them.
    pub(crate) fn hold_after(&self, bytes: u64) {
        *self.state.lock().unwrap() = State { left: Some(bytes), held: false };
    }

    pub(crate) fn open(&self) {
        *self.state.lock().unwrap() = State::default();
    }

    /// Waits until something is held.
    pub(crate) async fn holding(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.state.lock().unwrap().held {
            assert!(Instant::now() < end, "so many bytes never came");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn carry(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    state: Option<&Mutex<State>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        while state.is_some_and(|state| !passes(&mut state.lock().unwrap(), length as u64)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

fn passes(state: &mut State, length: u64) -> bool {
    match &mut state.left {
        None => true,
        Some(left) if *left >= length => {
            *left -= length;
            true
        }
        Some(_) => {
            state.held = true;
            false
        }
    }
}
