use std::future::pending;
use std::pin::pin;

use proptest::prelude::*;
use tokio::io::duplex;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// The bodies of the requests in `text`, which comes at most `room` bytes at once.
async fn bodies(text: Vec<u8>, room: usize) -> Vec<Vec<u8>> {
    let (near, mut far) = duplex(room);
    let sender = tokio::spawn(async move { far.write_all(&text).await.map(|()| far) });
    let mut connection = Http1::new(Box::new(near), None, BytesMut::new());
    connection.set_stall(MINUTE);
    let mut bodies = Vec::new();
    while connection.begins(MINUTE, pin!(pending())).await {
        connection.read_head(Instant::now() + MINUTE).await.unwrap();
        let (mut whole, mut count) = (BytesMut::new(), 0);
        loop {
            let read = connection.read_body_into(&mut whole).await.unwrap();
            count += read;
            assert_eq!(whole.len(), count);
            if read == 0 {
                break;
            }
        }
        assert!(connection.is_body_read());
        bodies.push(whole.to_vec());
        if bodies.len() == 2 {
            break;
        }
    }
    drop(sender.await);
    bodies
}

fn request(body: &[u8], chunk: Option<usize>) -> Vec<u8> {
    let mut text = b"POST /v1/x HTTP/1.1\r\nhost: h\r\n".to_vec();
    match chunk {
        None => {
            text.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
            text.extend_from_slice(body);
        }
        Some(size) => {
            text.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in body.chunks(size) {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a body comes, all of it and nothing of what follows is taken.
    #[test]
    fn a_body_is_read_whole_and_no_further(
        sizes in [0..200_000_usize, 1..9_000],
        chunk in proptest::option::of(1..70_000_usize),
        room in 1_000..300_000_usize,
    ) {
        let sent = sizes.map(|size| (0..=250).cycle().take(size).collect::<Vec<u8>>());
        let text = [request(&sent[0], chunk), request(&sent[1], None)].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        prop_assert_eq!(runtime.block_on(bodies(text, room)), sent);
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let (near, mut far) = duplex(1_024);
    far.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n1234").await.unwrap();
    drop(far);
    let mut connection = Http1::new(Box::new(near), None, BytesMut::new());
    connection.set_stall(MINUTE);
    assert!(connection.begins(MINUTE, pin!(pending())).await);
    connection.read_head(Instant::now() + MINUTE).await.unwrap();
    let mut whole = BytesMut::new();
    assert_eq!(connection.read_body_into(&mut whole).await.unwrap(), 4);
    let error = connection.read_body_into(&mut whole).await.unwrap_err();
    assert_eq!((error.kind(), whole.len()), (ErrorKind::UnexpectedEof, 4));
}
