//! Sessions: what they used is recorded each minute, and they end when they may not
//! go on. Covers J1, A4, A6 and invariant 1.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::bulk::head;
use super::socket::{SWITCH, handshake};
use crate::harness::door::Door;
use crate::harness::eventually::within;
use crate::harness::gateway::Gateway;
use crate::harness::setup::{Setup, Tollgate, key_of};
use crate::harness::websocket::{self, CLOSE, Frame};

const MINUTE: Duration = Duration::from_secs(60);

/// A realtime provider: gives each text back, but says the beginning or the end of
/// a response where it is asked to. It tells what closes it.
async fn realtime() -> (String, mpsc::UnboundedReceiver<Option<Frame>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, closed) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, tell.clone()));
        }
    });
    (url, closed)
}

async fn talk(mut stream: TcpStream, tell: mpsc::UnboundedSender<Option<Frame>>) {
    head(&mut stream).await;
    stream.write_all(SWITCH.as_bytes()).await.unwrap();
    loop {
        let frame = match websocket::read(&mut stream).await {
            Some(frame) if frame.opcode != CLOSE => frame,
            closed => break drop(tell.send(closed)),
        };
        let said = match &*frame.payload {
            b"begin" => Frame::text(r#"{"type":"response.created","response":{}}"#),
            b"finish" => Frame::text(&finished()),
            _ => frame,
        };
        if stream.write_all(&said.plain()).await.is_err() {
            break;
        }
    }
}

fn finished() -> String {
    let usage = json!({"total_tokens": 30, "input_tokens": 20, "output_tokens": 10,
        "input_token_details": {"cached_tokens": 5, "audio_tokens": 15}});
    // In the order in which it is sent.
    format!(r#"{{"type":"response.done","event_id":"e","response":{{"usage":{usage}}}}}"#)
}

/// A session's client.
struct Session(TcpStream);

impl Session {
    async fn open(gate: &Door, key: &str) -> Self {
        let mut stream = TcpStream::connect(gate.proxy).await.unwrap();
        stream.write_all(&handshake().bearer(key).bytes()).await.unwrap();
        let answer = head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        Self(stream)
    }

    /// Says `text` and hears the answer; the bytes of both.
    async fn say(&mut self, text: &str) -> (u64, u64) {
        let said = Frame::text(text).masked();
        self.0.write_all(&said).await.unwrap();
        let heard = self.next().await.expect("an answer").plain();
        (said.len() as u64, heard.len() as u64)
    }

    async fn next(&mut self) -> Option<Frame> {
        within("a frame", websocket::read(&mut self.0)).await
    }

    /// The code that closes it, and the end of the connection behind that.
    async fn closed(mut self) -> u16 {
        let code = self.next().await.expect("a close").code();
        assert_eq!(self.next().await, None);
        code
    }
}

fn at(url: &str) -> Setup {
    Tollgate::at(url).set("opaque.provider", "mock").set("opaque.price", "0.25")
}

fn sum(records: &[Value], field: &str) -> u64 {
    records.iter().map(|record| record[field].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn a_session_has_a_record_each_minute_and_they_add_up() {
    let (url, _closed) = realtime().await;
    let gate = at(&url).plan("tester", |plan| plan.per_minute(10)).start().await;
    let mut session = Session::open(&gate, &key_of("tester")).await;
    let (mut up, mut down) = (0, 0);
    for part in 1..=3 {
        for text in ["hello", "finish", "what is said"] {
            let (said, heard) = session.say(text).await;
            (up, down) = (up + said, down + heard);
        }
        gate.clock().advance(MINUTE);
        let records = gate.wait_for_records(part).await;
        assert_eq!((sum(&records, "bytes_in"), sum(&records, "bytes_out")), (up, down));
    }
    session.say("begin").await;
    drop(session);
    let records = gate.wait_for_records(4).await;
    let first = &records[0];
    for (number, record) in records.iter().enumerate() {
        let begins = number == 0;
        assert_eq!(record["session"], first["id"]);
        assert_eq!(record["request_id"], first["request_id"]);
        assert_eq!(record["quantity"], u64::from(begins), "{record}");
        assert_eq!(record["price"], if begins { "0.25" } else { "0" });
        assert_eq!(
            (&record["attempts"], &record["outcome"]),
            (&json!(u8::from(begins)), &json!("ok"))
        );
        let tokens = if number < 3 { [20, 5, 10] } else { [0; 3] };
        let found = ["input", "cached_input", "output"].map(|name| record["tokens"][name].clone());
        assert_eq!(found, tokens.map(|count| json!(count)), "{record}");
    }
    // It is one request, wherever requests are counted.
    let by_account = gate.admin("/admin/usage?by=account").await.ok().json();
    assert_eq!(
        (&by_account["data"][0]["requests"], &by_account["data"][0]["revenue"]),
        (&json!(1), &json!("0.25"))
    );
    let metrics = gate.admin("/metrics").await.ok().text();
    let counted: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("tollgate_requests_total{") && line.contains("\"101\""))
        .collect();
    assert!(matches!(counted.as_slice(), [one] if one.ends_with(" 1")), "{counted:?}");
    let gate = gate.restart_after(Duration::from_secs(1)).await;
    let answer = super::get(&gate, "tester", "/v1/models").await.ok();
    // The session came more than a minute before.
    assert_eq!(answer.number("x-ratelimit-remaining-requests"), 9);
}

/// Copies what the kernel has of a running gateway's ledger, as `kill -9` leaves it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_name().to_str().unwrap() {
            "store" | "lock" => {}
            _ if path.is_dir() => copy(&path, &target),
            _ => {
                std::fs::copy(&path, &target).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn after_a_kill_only_what_is_lost_is_too_much() {
    let (url, _closed) = realtime().await;
    let setup = at(&url).plan("tester", |plan| plan.per_hour(10));
    let home = TempDir::new().unwrap();
    let file = setup.write(home.path());
    let later = TempDir::new().unwrap();
    let later_file = setup.write(later.path());
    let gate = Gateway::start(home, &file).await;
    let mut session = Session::open(&gate, &key_of("tester")).await;
    let (up, down) = session.say("finish").await;
    gate.clock().advance(MINUTE);
    gate.wait_for_records(1).await;
    session.say("cut off").await;

    copy(&gate.data(), &later.path().join("data"));
    let after = Gateway::start(later, &later_file).await;
    let records = after.records().await;
    let [whole, lost] = records.as_slice() else { panic!("{records:#?}") };
    assert_eq!((&whole["bytes_in"], &whole["bytes_out"]), (&json!(up), &json!(down)));
    assert_eq!((&whole["outcome"], &whole["quantity"]), (&json!("ok"), &json!(1)));
    assert_eq!((&lost["outcome"], &lost["quantity"]), (&json!("lost"), &json!(0)));
    assert_eq!((&lost["session"], &lost["price"]), (&whole["id"], &json!("0")));
    let answer = super::get(&after, "tester", "/v1/models").await.ok();
    assert_eq!(answer.number("x-ratelimit-remaining-requests"), 8, "the session is one request");
}

#[tokio::test]
#[ignore = "long: more than a minute of real time, for `make soak`"]
async fn a_killed_process_loses_no_minute() {
    let (url, _closed) = realtime().await;
    let gate = at(&url).spawn().await;
    let mut session = Session::open(&gate, &key_of("tester")).await;
    let (up, down) = session.say("finish").await;
    let recorded = async {
        while gate.records().await.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(2 * MINUTE, recorded).await.expect("a record");
    session.say("cut off").await;
    let gate = gate.kill_and_restart().await;
    let records = gate.records().await;
    assert_eq!((&records[0]["bytes_in"], &records[0]["bytes_out"]), (&json!(up), &json!(down)));
    assert_eq!((records.len(), &records[1]["outcome"]), (2, &json!("lost")));
}

/// Makes an account with a key; its text and its id.
async fn customer(gate: &Door) -> (String, String) {
    let wanted = json!({"id": "shop", "name": "shop", "plan": "tester"});
    assert_eq!(gate.tell("POST", "/admin/accounts", &wanted).await.status(), 201);
    let made = gate.tell("POST", "/admin/keys", &json!({"account": "shop"})).await.json();
    (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

/// Both sides are told the same, and the record is whole.
async fn ends_with(
    gate: &Gateway,
    session: Session,
    closed: &mut mpsc::UnboundedReceiver<Option<Frame>>,
    code: u16,
) {
    assert_eq!(session.closed().await, code);
    let told = within("the provider's end", closed.recv()).await.unwrap();
    assert_eq!(told.expect("a close").code(), code);
    let records = gate.wait_for_records(1).await;
    assert_eq!((&records[0]["outcome"], &records[0]["quantity"]), (&json!("ok"), &json!(1)));
}

#[tokio::test]
async fn a_revoked_key_ends_its_sessions() {
    let (url, mut closed) = realtime().await;
    let gate = at(&url).start().await;
    let (key, id) = customer(&gate).await;
    let mut session = Session::open(&gate, &key).await;
    let mut other = Session::open(&gate, &key_of("tester")).await;
    session.say("hello").await;
    gate.tell("DELETE", &format!("/admin/keys/{id}"), &Value::Null).await;
    ends_with(&gate, session, &mut closed, 1008).await;
    other.say("still there").await;
}

#[tokio::test]
async fn a_browsers_key_comes_as_a_protocol() {
    let (url, _closed) = realtime().await;
    let gate = at(&url).start().await;
    let offers = |key: &str| {
        let protocols = format!("realtime, openai-insecure-api-key.{key}, openai-beta.x");
        handshake().header("sec-websocket-protocol", &protocols)
    };
    gate.send(&offers("tg_live_of_nobody_0123456789")).await.refused(401, "invalid_api_key");
    let mut stream = TcpStream::connect(gate.proxy).await.unwrap();
    stream.write_all(&offers(&key_of("tester")).bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101"));
    Session(stream).say("hello").await;
}

#[tokio::test]
async fn a_suspended_account_ends_its_sessions() {
    let (url, mut closed) = realtime().await;
    let gate = at(&url).start().await;
    let (key, _) = customer(&gate).await;
    let mut session = Session::open(&gate, &key).await;
    session.say("hello").await;
    gate.change("/admin/accounts/shop", &json!({"status": "suspended"})).await.ok();
    ends_with(&gate, session, &mut closed, 1008).await;
}

#[tokio::test]
async fn a_key_that_runs_out_ends_its_sessions() {
    let (url, mut closed) = realtime().await;
    let gate = at(&url).start().await;
    let (key, id) = customer(&gate).await;
    let mut session = Session::open(&gate, &key).await;
    gate.tell("POST", &format!("/admin/keys/{id}/rotate"), &json!({"grace": "30s"})).await;
    session.say("hello").await;
    gate.clock().advance(Duration::from_secs(31));
    ends_with(&gate, session, &mut closed, 1008).await;
}

#[tokio::test]
async fn silence_ends_a_session() {
    let (url, mut closed) = realtime().await;
    let gate = at(&url).set("opaque.socket_idle", "30s").start().await;
    let mut session = Session::open(&gate, &key_of("tester")).await;
    session.say("hello").await;
    gate.clock().advance(Duration::from_secs(31));
    ends_with(&gate, session, &mut closed, 1001).await;
}

#[tokio::test]
async fn a_message_has_a_largest_size() {
    let (url, mut closed) = realtime().await;
    let gate = at(&url).set("opaque.socket_message_limit", "1KB").start().await;
    let mut session = Session::open(&gate, &key_of("tester")).await;
    session.say(&"x".repeat(1024)).await;
    // Its head alone is enough.
    let large = Frame::text(&"x".repeat(1025)).masked();
    session.0.write_all(&large[..8]).await.unwrap();
    ends_with(&gate, session, &mut closed, 1009).await;
    let mut session = Session::open(&gate, &key_of("tester")).await;
    session.0.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(session.closed().await, 1002);
}

// A stop blocks its thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stop_ends_a_session_after_its_response() {
    let (url, mut closed) = realtime().await;
    let gate = at(&url).set("shutdown.grace", "10m").start().await;
    let mut busy = Session::open(&gate, &key_of("tester")).await;
    busy.say("begin").await;
    let idle = Session::open(&gate, &key_of("tester")).await;
    let restarted = tokio::spawn(gate.restart());
    assert_eq!(idle.closed().await, 1001, "there is nothing to wait for");
    busy.say("finish").await;
    assert_eq!(busy.closed().await, 1001);
    for _ in 0..2 {
        let told = within("the provider's end", closed.recv()).await.unwrap();
        assert_eq!(told.expect("a close").code(), 1001);
    }
    let gate = within("the restart", restarted).await.unwrap();
    for record in gate.records().await {
        assert_eq!((&record["outcome"], &record["quantity"]), (&json!("ok"), &json!(1)));
    }
}
