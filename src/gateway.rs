//! The request loop on Pingora: takes a head, lets `pipeline` serve it, and
//! decides what becomes of the connection. No policy lives here.

mod client;
mod police;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use pingora_core::server::ShutdownWatch;

use crate::app::App;
use crate::base::headers::REQUEST_ID;
use crate::connection::head::BadHead;
use crate::connection::{Handler, Http1, Next, Session};
use crate::exchange::{Client as _, Ending, Errors, Exchange, Gone};
use crate::intake::endpoint;
use crate::refusal::{Code, Refusal};
use crate::{pipeline, respond};

use client::DownstreamClient;
use police::police;

/// Serves requests with the application.
pub struct Gateway {
    app: Arc<App>,
}

impl Gateway {
    /// A gateway to `app`.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

impl Handler for Gateway {
    fn header_timeout(&self) -> Duration {
        self.app.snapshot.load().config.listen.header_timeout
    }

    fn stall_timeout(&self) -> Duration {
        self.app.snapshot.load().config.listen.stall_timeout
    }

    async fn handle(&self, session: Session, shutdown: &ShutdownWatch) -> Next {
        let mut client = DownstreamClient::new(session, self.stall_timeout());
        // The head is here; what the parser finds in it beyond what has been
        // judged quotes the request, so it goes nowhere.
        let (refusal, errors) = match client.read_head().await {
            Ok(true) => match police(client.head()) {
                Ok(()) => {
                    // Pinned where it stands: to await it would copy it.
                    let ending = pin!(self.serve(&mut client, shutdown)).await;
                    return client.close(ending).await;
                }
                Err(refusal) => (refusal, self.errors(&client)),
            },
            Ok(false) => return Next::Over,
            Err(_) => {
                let bad = BadHead::Malformed("The request is not well-formed HTTP.");
                (police::refusal(bad), Errors::default())
            }
        };
        // Boxed, as what only some requests need: its future is large.
        Box::pin(self.turn_away(client, &refusal, errors)).await;
        Next::Over
    }

    async fn refuse(&self, session: Box<Http1>, bad: BadHead) {
        let client = DownstreamClient::new(Session::Http1(session), self.stall_timeout());
        self.turn_away(client, &police::refusal(bad), Errors::default()).await;
    }
}

impl Gateway {
    /// Serves a request whose head has been read.
    async fn serve(&self, client: &mut DownstreamClient, shutdown: &ShutdownWatch) -> Ending {
        client.learn_address(&self.app.snapshot.load().config.listen.trusted_proxies);
        let mut exchange = self.app.exchange(client.head().headers.get(REQUEST_ID));
        let served = {
            // As above, and there are three wrappers to go into.
            let serving = pin!(pipeline::serve(&self.app, client, &mut exchange));
            AssertUnwindSafe(serving).catch_unwind().await
        };
        let ending = match served {
            Ok(Ok(ending)) => ending,
            Ok(Err(refusal)) => self.answer(client, &exchange, &refusal).await,
            // The panic hook has logged where; its payload may hold anything.
            Err(_) => {
                let refusal = Refusal::new(Code::InternalError, "An internal error occurred.");
                self.answer(client, &exchange, &refusal).await
            }
        };
        if *shutdown.borrow() {
            client.close_after();
        }
        ending
    }

    /// Answers a refusal, or cuts an answer that has begun.
    async fn answer(
        &self,
        client: &mut DownstreamClient,
        exchange: &Exchange,
        refusal: &Refusal,
    ) -> Ending {
        if client.has_answered() {
            return Ending::Cut;
        }
        client.settle_body().await;
        match respond::refuse(&self.app, client, exchange, refusal).await {
            Ok(()) => Ending::Complete,
            Err(Gone) => Ending::Cut,
        }
    }

    /// The shape of refusals on the path that `client` asks for.
    fn errors(&self, client: &DownstreamClient) -> Errors {
        let snapshot = self.app.snapshot.load();
        let lane = endpoint::lane(client.head().uri.path(), &snapshot.config.classes);
        lane.map(|lane| lane.errors()).unwrap_or_default()
    }

    /// Answers what is no request, and ends its connection.
    async fn turn_away(&self, mut client: DownstreamClient, refusal: &Refusal, errors: Errors) {
        let exchange = Exchange { errors, ..self.app.exchange(None) };
        client.close_after();
        if respond::refuse(&self.app, &mut client, &exchange, refusal).await.is_ok() {
            client.close_lingering().await;
        }
    }
}
