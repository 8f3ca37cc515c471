//! What the wire takes and refuses before anybody is let in.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::TestServer;

async fn socket(test: &TestServer) -> TcpStream {
    TcpStream::connect(test.server.postgres_address().unwrap()).await.unwrap()
}

/// What the server says until it closes.
async fn until_closed(mut socket: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut said)).await.expect("it closes");
    // What was not read of what we said resets the connection.
    assert!(closed.is_ok() || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_start_is_turned_away_without_harm() {
    let test = TestServer::start().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x00\x00\x00\x04",
        b"\x7f\xff\xff\xff\x00\x03\x00\x00",
        b"\x00\x00\x00\x08\x00\x02\x00\x00",
        b"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x01",
    ] {
        let mut socket = socket(&test).await;
        socket.write_all(bytes).await.unwrap();
        // What is too short to be a start is waited for only as long as more may come.
        socket.shutdown().await.unwrap();
        until_closed(socket).await;
    }
    // Somebody who is let in may still speak nonsense.
    let mut socket = socket(&test).await;
    socket.write_all(b"\x00\x00\x00\x10\x00\x03\x00\x00user\0x\0\0").await.unwrap();
    let mut asked = [0; 9];
    socket.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"R\0\0\0\x08\0\0\0\x03");
    socket.write_all(b"Q\0\0\0\x0dSELECT 1\0").await.unwrap();
    let said = until_closed(socket).await;
    assert!(said.windows(5).any(|part| part == b"08P01"), "{said:?}");
    test.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_encryption_is_declined_and_the_start_goes_on() {
    let test = TestServer::start().await;
    let mut socket = socket(&test).await;
    for request in [80_877_103_u32, 80_877_104] {
        socket.write_all(&[&8_u32.to_be_bytes()[..], &request.to_be_bytes()[..]].concat()).await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'N');
    }
    test.stop().await;
}
