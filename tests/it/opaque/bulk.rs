//! Bodies far larger than memory should ever hold. Covers J1.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{FORM, batch};
use crate::harness::client::Request;
use crate::harness::setup::{Tollgate, key_of};

const MEGABYTE: usize = 1024 * 1024;

/// Megabyte number `number` of every large body: lines of JSON, of which some name
/// what is nobody's.
fn megabyte(number: usize) -> Bytes {
    let mut state = u64::try_from(number).unwrap().wrapping_add(1);
    let mut bytes = Vec::with_capacity(MEGABYTE);
    while bytes.len() < MEGABYTE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let line = format!(
            "{{\"custom_id\":\"file-{state:016x}\",\"text\":\"{}\"}}\n",
            "x".repeat(8 * 1024 - 48)
        );
        bytes.extend_from_slice(line.as_bytes());
    }
    assert_eq!(bytes.len(), MEGABYTE);
    bytes.into()
}

/// What stands before and behind the content of a batch's file in its form.
fn around() -> (Vec<u8>, Vec<u8>) {
    let mut before = batch(b"");
    let after = before.split_off(before.len() - b"\r\n--XX--\r\n".len());
    (before, after)
}

/// The hash of a file of `size` megabytes in its form, or by itself.
fn hash_of(size: usize, form: bool) -> String {
    let (before, after) = if form { around() } else { Default::default() };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&before);
    (0..size).for_each(|number| {
        hasher.update(&megabyte(number));
    });
    hasher.update(&after).finalize().to_string()
}

/// How long the form is.
fn form_length(size: usize) -> usize {
    batch(b"").len() + size * MEGABYTE
}

/// Reads a head byte by byte.
pub(super) async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Reads `length` bytes and gives their hash.
async fn drained(stream: &mut TcpStream, length: usize) -> String {
    let (mut hasher, mut left) = (blake3::Hasher::new(), length);
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let most = left.min(buffer.len());
        let count = stream.read(&mut buffer[..most]).await.unwrap();
        assert!(count > 0, "{left} bytes are missing");
        hasher.update(&buffer[..count]);
        left -= count;
    }
    hasher.finalize().to_string()
}

/// A provider that answers an upload with its hash, and else sends `size`
/// megabytes; it holds none of it.
async fn provider(size: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = head(&mut stream).await;
            if head.starts_with("POST /v1/files") {
                let hash = drained(&mut stream, form_length(size)).await;
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{hash}", hash.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            } else {
                let length = size * MEGABYTE;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: {length}\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                for number in 0..size {
                    stream.write_all(&megabyte(number)).await.unwrap();
                }
            }
        }
    });
    url
}

async fn send_large(to: SocketAddr, size: usize) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let request = Request::with_body("POST", "/v1/files", FORM, "").bearer(&key_of("tester"));
    let length = format!("content-length: {}\r\n", form_length(size));
    let (before, after) = around();
    let head = request.head().replace("content-length: 0\r\n", &length);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&before).await.unwrap();
    for number in 0..size {
        stream.write_all(&megabyte(number)).await.unwrap();
    }
    stream.write_all(&after).await.unwrap();
    let answer = self::head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut hash = vec![0; 64];
    stream.read_exact(&mut hash).await.unwrap();
    String::from_utf8(hash).unwrap()
}

async fn receive_large(to: SocketAddr, size: usize) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // Without a body: the provider here reads none.
    let speak = Request::new("POST", "/v1/audio/speech").bearer(&key_of("tester"));
    stream.write_all(&speak.bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drained(&mut stream, size * MEGABYTE).await
}

/// `size` megabytes up and down; gives how many more bytes the process held at its
/// most than before.
async fn growth(size: usize) -> u64 {
    let url = provider(size).await;
    let gate = Tollgate::at(&url).set("opaque.provider", "mock").spawn().await;
    let (sent, received) = (hash_of(size, true), hash_of(size, false));
    // A first pass of the code paths: what they allocate once is not growth.
    for _ in 0..2 {
        assert_eq!(send_large(gate.proxy, size).await, sent);
        assert_eq!(receive_large(gate.proxy, size).await, received);
        gate.forget_peak();
    }
    let before = gate.resident();
    assert_eq!(send_large(gate.proxy, size).await, sent);
    assert_eq!(receive_large(gate.proxy, size).await, received);
    let grown = gate.peak().saturating_sub(before);
    let records = gate.wait_for_records(6).await;
    let (up, down) = (form_length(size), size * MEGABYTE);
    assert_eq!((&records[4]["bytes_in"], &records[5]["bytes_out"]), (&up.into(), &down.into()));
    grown
}

/// What a process may hold more than at a moment between two passes. What the
/// allocator keeps at such a moment is chance: over six runs of a gigabyte 3 to 9 MB
/// came of it, over two of three gigabytes less than one. A body that is held shows
/// with four times as much at least.
const CHANCE: u64 = 16 * 1024 * 1024;

#[tokio::test]
async fn sixty_four_megabytes_pass_both_ways_and_are_not_held() {
    let grown = growth(64).await;
    assert!(grown < CHANCE, "the process held {grown} bytes more");
}

#[tokio::test]
#[ignore = "long: a gigabyte each way, for `make soak`"]
async fn a_gigabyte_passes_both_ways_and_is_not_held() {
    let grown = growth(1024).await;
    println!("{grown} bytes more");
    assert!(grown < CHANCE, "the process held {grown} bytes more");
}
