//! The floor: a loop on Pingora that forwards and knows nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use http::header::HOST;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::connectors::http::Connector;
use pingora_core::listeners::ListenerConfig;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use pingora_core::upstreams::peer::HttpPeer;
use tokio::sync::watch;

use crate::{Failure, process};

/// Serves on `listen` until standard input ends.
pub(crate) fn run(listen: SocketAddr, upstream: SocketAddr) -> Result<(), Failure> {
    process::end_with_parent();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let peer = HttpPeer::new(upstream, false, String::new());
    let mut service =
        Service::new("bare".to_owned(), Bare { connector: Connector::new(None), peer });
    service.add_listener(ListenerConfig::tcp(listen.to_string()));
    let (_keep, shutdown) = watch::channel(false);
    runtime.block_on(service.start_service(None, shutdown, 1));
    Ok(())
}

struct Bare {
    connector: Connector,
    peer: HttpPeer,
}

#[async_trait]
impl HttpServerApp for Bare {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match session.read_request().await {
            Ok(true) => self.forward(session).await.ok().flatten(),
            // The client has left, or does not speak HTTP.
            Ok(false) | Err(_) => None,
        }
    }
}

impl Bare {
    async fn forward(
        &self,
        mut session: ServerSession,
    ) -> pingora_core::Result<Option<ReusedHttpStream>> {
        session.set_keepalive(Some(60));
        let mut head = session.req_header().clone();
        head.insert_header(HOST, "127.0.0.1")?;
        let mut body = BytesMut::new();
        let mut whole = session.read_request_body().await?.unwrap_or_default();
        while let Some(more) = session.read_request_body().await? {
            if body.is_empty() {
                body.extend_from_slice(&whole);
            }
            body.extend_from_slice(&more);
        }
        if !body.is_empty() {
            whole = body.freeze();
        }

        let (mut client, _) = self.connector.get_http_session(&self.peer).await?;
        client.write_request_header(Box::new(head)).await?;
        client.write_request_body(whole, true).await?;
        client.finish_request_body().await?;
        client.read_response_header().await?;
        if let Some(answer) = client.response_header() {
            session.write_response_header(Box::new(answer.clone())).await?;
        }
        while let Some(piece) = client.read_response_body().await? {
            session.write_response_body(piece, false).await?;
        }
        session.write_response_body(bytes::Bytes::new(), true).await?;
        self.connector.release_http_session(client, &self.peer, None).await;
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = session.finish().await?;
        Ok(reusable.map(|stream| ReusedHttpStream::from_reusable_stream(stream, settings)))
    }
}
