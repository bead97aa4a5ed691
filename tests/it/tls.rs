//! TLS with clients and with providers, and HTTP/2 by ALPN on both sides.

use serde_json::json;
use tempfile::TempDir;

use crate::harness::binary::{finish, text, tollgate};
use crate::harness::client::{Connection, Request};
use crate::harness::door::chat_body;
use crate::harness::eventually::{eventually, within};
use crate::harness::gate::Gate;
use crate::harness::h2_client::H2Client;
use crate::harness::h2_provider::{H2Provider, Play};
use crate::harness::openai;
use crate::harness::provider::Provider;
use crate::harness::reply::Reply;
use crate::harness::sdk;
use crate::harness::setup::{ADMIN_TOKEN, DEFAULT_PLAN, PROVIDER_KEY, Tollgate, key_of};
use crate::harness::tls::{Authority, Identity, shown};

const MODEL: &str = "gpt-4o-mini";

/// Sends a whole HTTP/1.1 request with `connection: close` and gives all bytes
/// of the answer.
async fn once(
    mut stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>,
    request: &Request,
) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let request = request.clone().header("connection", "close");
    stream.write_all(&request.bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("an answer", stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_client_chooses_the_version_by_alpn() {
    let (provider, authority, home) =
        (Provider::start().await, Authority::new(), TempDir::new().unwrap());
    let files = authority.issue().write(home.path());
    let gate = Tollgate::before(&provider).set("listen.tls", files).start().await;
    for offer in [&["http/1.1"][..], &[]] {
        let stream = authority.connect(gate.proxy, offer).await;
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            offer.first().map(|name| name.as_bytes()),
            "{offer:?}"
        );
        let answer = once(stream, &gate.chat()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(openai::TEXT), "{answer}");
    }
    let stream = authority.connect(gate.proxy, &["http/1.1", "h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "HTTP/2 is preferred");
    let mut client = H2Client::over(stream, "https", &h2::client::Builder::new()).await;
    assert_eq!(client.send(&gate.chat()).await.status, 200);
    let mut stream = client.open_stream(&gate.stream()).await;
    stream.head().await.unwrap();
    assert_eq!(stream.events().await.unwrap(), openai::chat_events(MODEL, false));
    assert_eq!(gate.records().await.len(), 4);
}

#[tokio::test]
async fn plain_text_is_not_answered_on_a_port_with_tls() {
    let (provider, authority, home) =
        (Provider::start().await, Authority::new(), TempDir::new().unwrap());
    let files = authority.issue().write(home.path());
    let gate = Tollgate::before(&provider).set("listen.tls", files).start().await;
    let mut plain = Connection::open(gate.proxy).await;
    plain.send(&gate.chat().bytes()).await;
    assert!(plain.try_answer().await.is_err());
    assert_eq!(provider.calls().len(), 0);
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_while_a_stream_runs() {
    let (provider, authority, home) =
        (Provider::start().await, Authority::new(), TempDir::new().unwrap());
    let (old, new) = (authority.issue(), authority.issue());
    let files = old.write(home.path());
    let gate = Tollgate::before(&provider).set("listen.tls", files).start().await;
    let held = Gate::closed();
    let events = openai::chat_events(MODEL, true);
    let reply = Reply::stream().event(&events[0]).wait(&held);
    provider.next(events[1..].iter().fold(reply, |reply, event| reply.event(event)));
    let stream = authority.connect(gate.proxy, &["h2"]).await;
    assert_eq!(shown(&stream), old.der());
    let mut client = H2Client::over(stream, "https", &h2::client::Builder::new()).await;
    let mut stream = client.open_stream(&gate.stream()).await;
    stream.head().await.unwrap();
    assert!(stream.event().await.unwrap().is_some());

    // Half a change is none: the new certificate does not fit the old key.
    std::fs::write(home.path().join("cert.pem"), &new.cert).unwrap();
    reload(&gate).await;
    assert_eq!(shown(&authority.connect(gate.proxy, &["h2"]).await), old.der());
    // Nobody says that the change is whole now.
    std::fs::write(home.path().join("key.pem"), &new.key).unwrap();
    eventually("the new certificate", async || {
        (shown(&authority.connect(gate.proxy, &["h2"]).await) == new.der()).then_some(())
    })
    .await;

    std::fs::write(home.path().join("cert.pem"), "no certificate").unwrap();
    reload(&gate).await;
    std::fs::remove_file(home.path().join("key.pem")).unwrap();
    reload(&gate).await;
    assert_eq!(shown(&authority.connect(gate.proxy, &["h2"]).await), new.der());

    held.open();
    assert_eq!(stream.events().await.unwrap(), openai::chat_events(MODEL, false)[1..]);
    assert_eq!(client.send(&gate.chat()).await.status, 200, "the old connection lives on");
}

async fn reload(gate: &crate::harness::door::Door) {
    let request = Request::new("POST", "/admin/config/reload").bearer(ADMIN_TOKEN);
    request.send(gate.admin).await.ok();
}

#[tokio::test]
async fn a_bad_certificate_stops_the_start_in_words() {
    let authority = Authority::new();
    let (one, other) = (authority.issue(), authority.issue());
    let none = "no certificate".to_owned();
    let cases = [
        (Identity { cert: none.clone(), ..one.clone() }, "has no certificate"),
        (Identity { key: none, ..one.clone() }, "has no private key"),
        (Identity { key: other.key, ..one.clone() }, "are no usable pair"),
    ];
    for (identity, words) in cases {
        let home = TempDir::new().unwrap();
        let files = identity.write(home.path());
        let error = refused_start(&home, &files).await;
        assert!(error.contains("listen.tls: ") && error.contains(words), "{error}");
        assert!(!error.contains("BEGIN"), "{error}");
    }
    let home = TempDir::new().unwrap();
    let missing = json!({"cert": "nowhere.pem", "key": "nowhere.pem"});
    let error = refused_start(&home, &missing).await;
    assert!(error.contains("cannot read nowhere.pem"), "{error}");
}

#[tokio::test]
async fn a_trust_store_that_is_not_there_stops_the_start_in_words() {
    let home = TempDir::new().unwrap();
    let missing = home.path().join("nowhere.pem");
    let mut command = tollgate();
    command.env("SSL_CERT_FILE", &missing);
    let error = refused(&home, command, &serde_json::Value::Null).await;
    assert!(error.contains("SSL_CERT_FILE: cannot read certificates"), "{error}");
    assert!(error.contains("nowhere.pem"), "{error}");
}

/// What `tollgate serve` says when it does not start.
async fn refused_start(home: &TempDir, files: &serde_json::Value) -> String {
    refused(home, tollgate(), files).await
}

async fn refused(
    home: &TempDir,
    mut command: std::process::Command,
    files: &serde_json::Value,
) -> String {
    let file = Tollgate::sandbox().set("listen.tls", files.clone()).write(home.path());
    command.arg("serve").arg("-c").arg(file).current_dir(home.path());
    let output = finish(command).await;
    assert_eq!(output.status.code(), Some(1));
    text(&output.stderr)
}

#[tokio::test]
async fn the_official_sdk_speaks_http2_to_it() {
    let (provider, authority, home) =
        (Provider::start().await, Authority::new(), TempDir::new().unwrap());
    let files = authority.issue().write(home.path());
    let trust = authority.write(home.path()).display().to_string();
    let process = Tollgate::before(&provider).set("listen.tls", files).spawn().await;
    let url = format!("https://{}/v1", process.proxy);
    assert!(process.banner().contains(&format!("proxy   https://{}", process.proxy)));
    let environment = [("OPENAI_BASE_URL", &*url), ("CA", &*trust), ("TEXT", openai::TEXT)];
    sdk::run("http2.py", &process, &environment).await;
    assert_eq!(provider.calls().len(), 102);
    assert_eq!(process.records().await.len(), 102);
}

#[tokio::test]
async fn a_provider_with_tls_alone_is_called_with_http1() {
    let (provider, authority) = (Provider::start().await, Authority::new());
    let address = authority.issue().before(provider.address()).await;
    let url = format!("https://{address}/v1");
    let process = Tollgate::at(&url).spawn_trusting(&authority).await;
    for _ in 0..2 {
        process.send(&process.chat()).await.ok();
    }
    let answer = process.send(&process.stream()).await.ok();
    assert_eq!(answer.events(), openai::chat_events(MODEL, false));
    let calls = provider.calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(provider.connections(), 1, "the connection is kept");
    assert_eq!(calls[0].header("host"), Some(&*address.to_string()));
    assert_eq!(calls[0].header("authorization"), Some(&*format!("Bearer {PROVIDER_KEY}")));
}

#[tokio::test]
async fn a_provider_that_nobody_vouches_for_is_not_called() {
    let (provider, stranger, authority) =
        (Provider::start().await, Authority::new(), Authority::new());
    let address = stranger.issue().before(provider.address()).await;
    let url = format!("https://{address}/v1");
    let process = Tollgate::at(&url).set("routing.retries", 0).spawn_trusting(&authority).await;
    process.send(&process.chat()).await.refused(502, "upstream_error");
    // The right authority, but another name.
    let url = url.replace("127.0.0.1", "127.0.0.2");
    let process = Tollgate::at(&url).set("routing.retries", 0).spawn_trusting(&stranger).await;
    process.send(&process.chat()).await.refused(502, "upstream_error");
    assert_eq!(provider.calls().len(), 0);
}

#[tokio::test]
async fn many_requests_share_a_providers_connection() {
    let authority = Authority::new();
    let provider = H2Provider::start(&authority.issue()).await;
    let process = Tollgate::at(&provider.url()).spawn_trusting(&authority).await;
    let held = Gate::closed();
    for _ in 0..50 {
        provider.next(Play::After(held.clone()));
    }
    let mut connections = Vec::new();
    for number in 0..50 {
        let request = if number % 2 == 0 { process.chat() } else { process.stream() };
        connections.push(process.open(&request).await);
    }
    provider.wait_for_calls(50).await;
    assert_eq!(provider.connections(), 1);
    held.open();
    for connection in &mut connections {
        let answer = connection.answer().await.ok();
        assert!(answer.text().contains("Hello"), "{}", answer.text());
    }
    let call = &provider.calls()[0];
    assert_eq!(call.connection, 0);
    assert_eq!(call.head.uri().to_string(), format!("{}/chat/completions", provider.url()));
    assert_eq!(call.head.headers()["authorization"], format!("Bearer {PROVIDER_KEY}"));
    assert_eq!(call.head.headers().get("host"), None);
    assert_eq!(call.json()["model"], MODEL);
    assert_eq!(process.records().await.len(), 50);
}

#[tokio::test]
async fn more_requests_than_a_connection_takes_get_a_second_one() {
    let authority = Authority::new();
    let provider = H2Provider::start(&authority.issue()).await;
    let process = Tollgate::at(&provider.url()).spawn_trusting(&authority).await;
    let held = Gate::closed();
    let mut connections = Vec::new();
    for _ in 0..120 {
        provider.next(Play::After(held.clone()));
        connections.push(process.open(&process.chat()).await);
    }
    provider.wait_for_calls(120).await;
    assert_eq!(provider.connections(), 2);
    held.open();
    for connection in &mut connections {
        connection.answer().await.ok();
    }
}

#[tokio::test]
async fn a_large_body_reaches_a_provider_over_http2() {
    let authority = Authority::new();
    let provider = H2Provider::start(&authority.issue()).await;
    let process = Tollgate::at(&provider.url()).spawn_trusting(&authority).await;
    let mut body = chat_body();
    body["messages"][0]["content"] = "z".repeat(2 * 1024 * 1024).into();
    let request = process.chat_text(&body.to_string());
    process.send(&request).await.ok();
    assert_eq!(provider.calls()[0].body, *request.body());
    // An answer that does not wait for the body is found all the same.
    provider.next(Play::Early(413, r#"{"error":{"message":"too much"}}"#));
    let answer = process.send(&request).await;
    assert_eq!((answer.status(), &*answer.text()), (413, r#"{"error":{"message":"too much"}}"#));
}

#[tokio::test]
async fn a_client_that_leaves_resets_the_providers_stream_alone() {
    let authority = Authority::new();
    let provider = H2Provider::start(&authority.issue()).await;
    let process = Tollgate::at(&provider.url()).spawn_trusting(&authority).await;
    let events = openai::chat_events(MODEL, true);
    let (left, kept) = (Gate::closed(), Gate::closed());
    provider.next(Play::Events(events.clone(), kept.clone()));
    let mut stays = process.open(&process.stream()).await;
    stays.head().await;
    provider.next(Play::Events(events.clone(), left));
    let mut leaves = process.open(&process.stream().header("x-request-id", "leaver")).await;
    leaves.head().await;
    leaves.event_data().await;
    drop(leaves);
    assert_eq!(provider.wait_for_resets(1).await, [1]);
    assert_eq!(process.record_of("leaver").await["outcome"], "client_gone_late");
    kept.open();
    let mut seen = Vec::new();
    while let Some(event) = stays.event().await.unwrap() {
        seen.push(String::from_utf8(event.to_vec()).unwrap());
    }
    assert_eq!(seen.last().map(String::as_str), Some("data: [DONE]\n\n"));
    assert_eq!(provider.connections(), 1);
}

#[tokio::test]
async fn a_stream_that_a_provider_resets_is_cut() {
    let authority = Authority::new();
    let provider = H2Provider::start(&authority.issue()).await;
    let process = Tollgate::at(&provider.url()).spawn_trusting(&authority).await;
    let events = openai::chat_events(MODEL, true);
    let held = Gate::closed();
    provider.next(Play::EventsThenReset(events[..3].to_vec(), held.clone()));
    let mut connection = process.open(&process.stream().header("x-request-id", "cut")).await;
    connection.head().await;
    for event in &openai::chat_events(MODEL, false)[..3] {
        assert_eq!(&connection.event_data().await, event);
    }
    held.open();
    assert!(connection.event().await.is_err(), "it ended like a whole answer");
    assert_eq!(process.record_of("cut").await["outcome"], "cut");
    process.send(&process.chat()).await.ok();
    assert_eq!(provider.connections(), 1, "the connection lives on");
}

#[tokio::test]
async fn a_stream_that_is_refused_is_sent_once_more() {
    let authority = Authority::new();
    let provider = H2Provider::start(&authority.issue()).await;
    let process =
        Tollgate::at(&provider.url()).set("routing.retries", 0).spawn_trusting(&authority).await;
    process.send(&process.chat()).await.ok();
    provider.next(Play::Reset(h2::Reason::REFUSED_STREAM));
    process.send(&process.chat().header("x-request-id", "again")).await.ok();
    assert_eq!(provider.calls().len(), 3);
    assert_eq!(process.record_of("again").await["attempts"], 2);
    // A fresh connection that does the same is believed.
    provider.drop_connections();
    provider.next(Play::Reset(h2::Reason::REFUSED_STREAM));
    provider.next(Play::Reset(h2::Reason::REFUSED_STREAM));
    process.send(&process.chat()).await.refused(502, "upstream_error");
}

#[tokio::test]
async fn a_connection_that_died_unnoticed_costs_no_request() {
    let authority = Authority::new();
    let provider = H2Provider::start(&authority.issue()).await;
    let process =
        Tollgate::at(&provider.url()).set("routing.retries", 0).spawn_trusting(&authority).await;
    for round in 1..=10 {
        process.send(&process.chat()).await.ok();
        assert_eq!(provider.connections(), round);
        provider.drop_connections();
    }
    let key = key_of(DEFAULT_PLAN);
    let records = process.records().await;
    assert_eq!(records.len(), 10);
    assert!(!format!("{records:?}").contains(&key));
}
