//! A client of HTTP/1.1 that does as little as can be done, so that what is measured beside it is the server.

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One connection that stays open.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// What every request ends with.
    tail: String,
    buffer: Vec<u8>,
}

impl Wire {
    /// # Errors
    /// When nobody listens at `address`.
    pub async fn connect(address: &str, token: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let tail = format!(" HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n");
        Ok(Self { stream, tail, buffer: Vec::with_capacity(1 << 16) })
    }

    /// Asks for a path and answers the status and the body.
    ///
    /// # Errors
    /// When the answer is cut or is none of HTTP/1.1.
    pub async fn get(&mut self, path: &str) -> Result<(u16, &[u8])> {
        let request = format!("GET {path}{}", self.tail);
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = std::str::from_utf8(&self.buffer[..head])?.to_ascii_lowercase();
        let status: u16 = text.split(' ').nth(1).context("no status")?.parse()?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        if let Some(length) = length {
            let end = head + length.trim().parse::<usize>()?;
            while self.buffer.len() < end {
                self.more().await?;
            }
            return Ok((status, &self.buffer[head..end]));
        }
        if !text.contains("transfer-encoding: chunked") {
            return Ok((status, &[]));
        }
        while !self.buffer.ends_with(b"0\r\n\r\n") {
            self.more().await?;
        }
        let body = dechunked(&self.buffer[head..])?;
        self.buffer = body;
        Ok((status, &self.buffer))
    }

    async fn more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(())
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn dechunked(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::with_capacity(rest.len());
    loop {
        let line = find(rest, b"\r\n").context("a cut chunk")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line])?.trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        let start = line + 2;
        body.extend_from_slice(rest.get(start..start + size).context("a cut chunk")?);
        rest = rest.get(start + size + 2..).context("a cut chunk")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(dechunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap(), b"abcde");
        assert!(dechunked(b"3\r\nab").is_err());
    }
}
