//! Bytes between a driver's socket and a channel.
//!
//! Towards the driver a little is kept in memory, and then the session waits for the driver: that is how a database is
//! slowed down. A driver that takes nothing for [`PATIENCE`] while others share the session gets its bytes put aside in a
//! file, sealed with a key that nobody else has (the library grants a channel more as soon as something comes, not when it is
//! taken, so that a window of its own cannot hold one channel back); beyond [`ASIDE`] its connection is cut, and whoever reads it reads again from its cursor.

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::{Buf, Bytes};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until},
};

use super::{
    session::{Opened, Session},
    spill::Spill,
};

/// Bytes that wait in memory for a driver.
const WAITING: usize = 1 << 20;
/// How long a driver may take nothing before its bytes are put aside.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes put aside for one driver, at most.
const ASIDE: u64 = 1 << 30;
/// Bytes read from the driver, or from the file, at a time.
const CHUNK: usize = 64 << 10;

/// Carries bytes both ways until one side ends.
pub(super) async fn pump(opened: Opened, local: impl AsyncRead + AsyncWrite + Send) {
    let Opened { channel, session, place, far } = opened;
    let (mut from_server, to_server) = channel.split();
    let (from_driver, to_driver) = tokio::io::split(local);
    let heard = Heard::default();
    let down = down(&session, &mut from_server, to_driver, &heard);
    let up = up(from_driver, &to_server);
    let lost = session.lost(&far, || heard.at());
    tokio::pin!(down, up, lost);
    let outcome = tokio::select! {
        () = &mut lost => Err(io::ErrorKind::TimedOut.into()),
        outcome = &mut down => outcome,
        // A driver that has said everything may still be listening.
        outcome = &mut up => match outcome {
            Ok(()) => tokio::select! {
                outcome = down.as_mut() => outcome,
                () = &mut lost => Err(io::ErrorKind::TimedOut.into()),
            },
            Err(error) => Err(error),
        },
    };
    if let Err(error) = outcome {
        tracing::debug!(kind = ?error.kind(), "a connection through SSH broke");
    }
    if to_server.close().await.is_err() {
        tracing::debug!("an SSH session ended before its connection");
    }
    drop(place);
}

async fn up(mut driver: impl AsyncRead + Unpin, server: &ChannelWriteHalf<Msg>) -> io::Result<()> {
    let mut writer = server.make_writer();
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = driver.read(&mut buffer).await?;
        if length == 0 {
            return server.eof().await.map_err(io::Error::other);
        }
        writer.write_all(&buffer[..length]).await?;
        writer.flush().await?;
    }
}

/// When something came from the server, or was there to be taken.
#[derive(Debug)]
struct Heard(Mutex<Instant>);

impl Default for Heard {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Heard {
    fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// What waits for the driver.
#[derive(Default)]
struct Queue {
    parts: VecDeque<Bytes>,
    bytes: usize,
    aside: Spill,
    /// Beyond memory, bytes go to the file.
    relieved: bool,
}

impl Queue {
    /// Whether the session has to wait.
    fn is_full(&self) -> bool {
        !self.relieved && self.bytes >= WAITING
    }

    async fn put(&mut self, bytes: Bytes) -> io::Result<()> {
        // What is in the file is older.
        if !self.aside.is_empty() || (self.relieved && self.bytes >= WAITING) {
            if self.aside.len() >= ASIDE {
                let reason = "its reader takes nothing while others wait for the same SSH session";
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            return self.aside.put(bytes).await;
        }
        self.bytes += bytes.len();
        self.parts.push_back(bytes);
        Ok(())
    }

    async fn refill(&mut self) -> io::Result<()> {
        while self.bytes < WAITING && !self.aside.is_empty() {
            let bytes = self.aside.take(CHUNK).await?;
            self.bytes += bytes.len();
            self.parts.push_back(bytes);
        }
        if self.aside.is_empty() && self.bytes < WAITING {
            self.relieved = false;
        }
        Ok(())
    }

    fn sent(&mut self, length: usize) {
        self.bytes -= length;
        if let Some(first) = self.parts.front_mut() {
            first.advance(length);
            if first.is_empty() {
                self.parts.pop_front();
            }
        }
    }
}

async fn down(
    session: &Session,
    server: &mut ChannelReadHalf,
    mut driver: impl AsyncWrite + Unpin,
    heard: &Heard,
) -> io::Result<()> {
    let mut queue = Queue::default();
    let mut ended = false;
    let mut taken = Instant::now();
    loop {
        heard.set();
        let head = queue.parts.front().cloned().unwrap_or_default();
        if head.is_empty() && ended {
            return driver.shutdown().await;
        }
        let full = queue.is_full();
        tokio::select! {
            message = server.wait(), if !ended && !full => match message {
                Some(ChannelMsg::Data { data }) if !data.is_empty() => queue.put(data).await?,
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => ended = true,
                Some(_) => {}
            },
            length = driver.write(&head), if !head.is_empty() => {
                let length = length?;
                if length == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                queue.sent(length);
                queue.refill().await?;
                taken = Instant::now();
            }
            () = sleep_until(taken + PATIENCE), if full => {
                // Asked again and again: others may come.
                if session.is_shared() {
                    tracing::debug!("a reader through SSH waits; what comes for it is put aside");
                    queue.relieved = true;
                }
                taken = Instant::now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_queue_keeps_the_order_between_memory_and_file() {
        let mut queue = Queue::default();
        let mut put = 0_u32;
        let mut fill = async |queue: &mut Queue, count: u32| {
            for _ in 0..count {
                let mut part = vec![0; 32 << 10];
                part[..4].copy_from_slice(&put.to_be_bytes());
                queue.put(part.into()).await.unwrap();
                put += 1;
            }
        };
        fill(&mut queue, 32).await;
        assert!(queue.is_full());
        queue.relieved = true;
        fill(&mut queue, 100).await;
        assert_eq!(queue.aside.len(), 100 * (32 << 10));
        let mut stream = Vec::new();
        while let Some(head) = queue.parts.front().cloned() {
            let length = head.len().min(20_000);
            stream.extend_from_slice(&head[..length]);
            queue.sent(length);
            queue.refill().await.unwrap();
            if stream.len() < 1 << 20 && stream.len() % 3 == 0 {
                fill(&mut queue, 1).await;
            }
        }
        assert!(!queue.relieved && queue.bytes == 0);
        let seen: Vec<u32> =
            stream.chunks(32 << 10).map(|part| u32::from_be_bytes(part[..4].try_into().unwrap())).collect();
        assert_eq!(seen, (0..put).collect::<Vec<_>>());
    }
}
