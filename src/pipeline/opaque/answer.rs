//! The answer on its way to the client.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::base::sse::{self, Piece, Splitter};
use crate::exchange::{AnswerHead, Client, Ending};
use crate::ledger::record::Outcome;
use crate::opaque::made::Origin;
use crate::opaque::{LARGEST_JSON, Place, roots};
use crate::pipeline::opaque::send::Called;
use crate::pipeline::opaque::{Passage, hidden, is_json};
use crate::pipeline::relay::{Restore, failed, is_event_stream, provider_status};
use crate::pipeline::{unless_gone, waiting};
use crate::refusal::{Code, Refusal};
use crate::respond::{self, Said};
use crate::upstream::{Body, BodyError, Failure, Reply};

/// Largest event that is looked into, in bytes; a larger one passes unread.
const LARGEST_EVENT: usize = 256 * 1024;

/// Why an answer was not read whole.
pub(super) enum Unread {
    Gone,
    TooLarge,
    Broken(BodyError),
}

impl<C: Client> Passage<'_, C> {
    /// Decides by status and content type what becomes of a reply.
    pub(super) async fn hand_over(&mut self, reply: Reply) -> Result<Ending, Refusal> {
        let status = reply.status;
        let seller = status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN;
        let passes = status.is_success()
            || status == StatusCode::NOT_MODIFIED
            || (status.is_client_error() && !seller);
        if !passes {
            return self.refuse(reply).await;
        }
        if self.target.method == Method::HEAD {
            return self.head_alone(reply).await;
        }
        if status.is_success()
            && let Err(refusal) = self.learn_location(&reply.headers).await
        {
            return self.fail(Outcome::InternalError, refusal).await;
        }
        let about = self.place.root.tells && !self.place.content && self.tenant.is_some();
        let hidden = hidden::of(&self.snapshot.config, &self.place);
        let json = reply.headers.get(CONTENT_TYPE).is_some_and(is_json);
        let listed = status.is_success() && self.is_list();
        if (about || hidden.is_some()) && (json || listed) {
            return self.read(reply, listed, hidden.as_ref()).await;
        }
        self.stream(reply, about, hidden.as_ref()).await
    }

    /// A status that is not passed on.
    pub(super) async fn refuse(&mut self, reply: Reply) -> Result<Ending, Refusal> {
        let Reply { status, mut body, .. } = reply;
        if self.target.method != Method::HEAD && status != StatusCode::SWITCHING_PROTOCOLS {
            body.finish().await;
        }
        drop(body);
        self.fail(Outcome::ProviderError, provider_status(status)).await
    }

    /// An answer to HEAD, which has no body whatever its headers say.
    async fn head_alone(&mut self, reply: Reply) -> Result<Ending, Refusal> {
        let Reply { status, headers, body } = reply;
        // Its connection looks as if a body were to come.
        drop(body);
        let head = self.head(status, &headers, true);
        self.tab.settle(outcome(status), status.as_u16(), self.exchange.waited).await?;
        let sent = self.client.send_head(head).await.is_ok() && self.client.finish().await.is_ok();
        Ok(if sent { Ending::Complete } else { Ending::Cut })
    }

    /// JSON that names what a provider made: learnt from or filtered, settled,
    /// and sent in one piece, without what is `hidden`.
    async fn read(
        &mut self,
        reply: Reply,
        listed: bool,
        hidden: Option<&Restore>,
    ) -> Result<Ending, Refusal> {
        let Reply { status, headers, mut body } = reply;
        let answer = match self.read_json(&mut body).await {
            Ok(answer) => answer,
            Err(unread) => return self.unread(unread).await,
        };
        let answer = match (listed, status.is_success()) {
            (true, _) => match self.list(answer).await? {
                Ok(answer) => answer,
                Err(called) => return Box::pin(self.no_reply(called)).await,
            },
            (false, true) => {
                let known = match self.place.deletes(&self.target.method) {
                    Some(id) => self.forget(id, &answer),
                    None => self.learn(&answer, !self.place.ids.is_empty()).await,
                };
                if let Err(refusal) = known {
                    return self.fail(Outcome::InternalError, refusal).await;
                }
                answer
            }
            (false, false) => answer,
        };
        let answer = match hidden {
            Some(hidden) => hidden.whole(answer),
            None => answer,
        };
        self.tab.sent(answer.len());
        self.tab.settle(outcome(status), status.as_u16(), self.exchange.waited).await?;
        let head = self.head(status, &headers, false);
        match self.client.send_whole(head, answer).await {
            Ok(()) => Ok(Ending::Complete),
            Err(_) => Ok(Ending::Cut),
        }
    }

    /// An answer passed on as it comes; `about` if its events may name what a
    /// provider made. What is `hidden` in them is left out.
    async fn stream(
        &mut self,
        reply: Reply,
        about: bool,
        hidden: Option<&Restore>,
    ) -> Result<Ending, Refusal> {
        let Reply { status, headers, mut body } = reply;
        if status.is_success()
            && let Some(id) = self.place.deletes(&self.target.method)
            && let Err(refusal) = self.forget(id, b"")
        {
            return self.fail(Outcome::InternalError, refusal).await;
        }
        let length = length(&headers);
        let events = is_event_stream(&headers);
        if events && let Some(bill) = self.tab.bill() {
            bill.streams();
        }
        let hidden = hidden.filter(|_| events);
        let mut splitter =
            (events && (about || hidden.is_some())).then(|| Splitter::new(LARGEST_EVENT));
        // Without something its length is another.
        let head = self.head(status, &headers, hidden.is_none());
        if self.client.send_head(head).await.is_err() {
            drop(body);
            return self.gone().await;
        }
        let mut sent = 0;
        loop {
            match unless_gone(&mut *self.client, body.next()).await {
                None => {
                    drop(body);
                    return self.gone().await;
                }
                Some(Ok(Some(piece))) => {
                    sent += piece.len() as u64;
                    let piece = match &mut splitter {
                        Some(splitter) => self.learn_events(splitter, piece, hidden).await?,
                        None => piece,
                    };
                    self.tab.sent(piece.len());
                    let last = length == Some(sent)
                        || (events && memchr::memmem::find(&piece, b"data: [DONE]").is_some());
                    if last {
                        self.settle(status).await?;
                    }
                    if !piece.is_empty() && self.client.send(piece).await.is_err() {
                        drop(body);
                        return self.gone().await;
                    }
                }
                Some(Ok(None)) => {
                    // Held back as it may have been the beginning of an event.
                    let rest = splitter.as_mut().and_then(Splitter::finish);
                    if let Some((hidden, rest)) = hidden.zip(rest) {
                        let rest = without(hidden, rest);
                        self.tab.sent(rest.len());
                        if self.client.send(rest).await.is_err() {
                            drop(body);
                            return self.gone().await;
                        }
                    }
                    break;
                }
                Some(Err(_)) => {
                    let waited = self.exchange.waited;
                    self.tab.settle(Outcome::Cut, status.as_u16(), waited).await?;
                    return Ok(Ending::Cut);
                }
            }
        }
        self.settle(status).await?;
        match self.client.finish().await {
            Ok(()) => Ok(Ending::Complete),
            Err(_) => Ok(Ending::Cut),
        }
    }

    async fn settle(&mut self, status: StatusCode) -> Result<(), Refusal> {
        self.tab.settle(outcome(status), status.as_u16(), self.exchange.waited).await
    }

    /// Reads JSON up to the largest that is read.
    pub(super) async fn read_json(&mut self, body: &mut Body) -> Result<Bytes, Unread> {
        let read = waiting(self.app, &mut self.exchange.waited, read_bounded(body));
        unless_gone(&mut *self.client, read).await.unwrap_or(Err(Unread::Gone))
    }

    /// Ends a request whose answer could not be read.
    pub(super) async fn unread(&mut self, unread: Unread) -> Result<Ending, Refusal> {
        let refusal = match unread {
            Unread::Gone => return self.gone().await,
            Unread::TooLarge => Refusal::new(
                Code::UpstreamError,
                "The provider's answer is too large to be checked for whose it is.",
            ),
            Unread::Broken(BodyError::TimedOut) => failed(Failure::TimedOut),
            Unread::Broken(BodyError::Cut | BodyError::Garbled) => {
                Refusal::new(Code::UpstreamError, "The provider's answer broke off.")
            }
        };
        self.fail(Outcome::Cut, refusal).await
    }

    /// Notes what an answer made as the account's, before the client has it.
    async fn learn(&self, answer: &[u8], items: bool) -> Result<(), Refusal> {
        let Some(tenant) = self.tenant.filter(|_| self.place.makes) else { return Ok(()) };
        let whole = self.place.ids.first().map(String::as_str);
        if tenant.learn(answer, Origin { kind: self.place.kind(), whole, items })? {
            tenant.keep().await?;
        }
        Ok(())
    }

    /// Forgets the thing called `id` unless `answer` says that it is there still.
    fn forget(&self, id: &str, answer: &[u8]) -> Result<(), Refusal> {
        let stays = matches!(serde_json::from_slice(answer), Ok(Deletion { deleted: Some(false) }));
        match self.tenant.filter(|_| !stays) {
            Some(tenant) => tenant.forget(&self.place, id),
            None => Ok(()),
        }
    }

    /// Notes what the answer's `Location` names as the account's.
    async fn learn_location(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let made = self.target.method == Method::POST && self.place.makes;
        if let Some(tenant) = self.tenant.filter(|_| made)
            && let Some((place, _)) = self.location(headers)
            && place.root.name == self.place.root.name
            && tenant.learn_place(&place)?
        {
            tenant.keep().await?;
        }
        Ok(())
    }

    /// What the `Location` of a provider's answer names, and its path here.
    fn location(&self, headers: &HeaderMap) -> Option<(Place, String)> {
        let value = headers.get(LOCATION)?.to_str().ok()?;
        let allow_unknown = self.snapshot.config.opaque.allow_unknown;
        roots::location(value, &self.reach.origin.base().path, allow_unknown)
    }

    /// Learns from the events that `piece` completes; gives what is passed on: the
    /// piece itself, or these events without what is `hidden`.
    async fn learn_events(
        &self,
        splitter: &mut Splitter,
        piece: Bytes,
        hidden: Option<&Restore>,
    ) -> Result<Bytes, Refusal> {
        let mut shown = BytesMut::new();
        splitter.push(piece.clone());
        while let Some(piece) = splitter.next_piece() {
            if let Piece::Event(event) = &piece
                && let Some(data) = sse::data(event)
            {
                self.learn(&data, false).await?;
            }
            if let Some(hidden) = hidden {
                shown.extend_from_slice(&without(hidden, piece));
            }
        }
        Ok(if hidden.is_some() { shown.freeze() } else { piece })
    }

    /// The head of an answer that came from the provider, its length in it if it is
    /// `streamed` and known.
    pub(super) fn head(
        &mut self,
        status: StatusCode,
        provider: &HeaderMap,
        streamed: bool,
    ) -> AnswerHead {
        let mut headers = respond::returned(provider);
        let location = self.location(provider).filter(|_| status.is_success());
        if let Some((_, path)) = location {
            respond::put(&mut headers, "location", &path);
        }
        if let Some(length) = length(provider).filter(|_| streamed) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if outcome(status) != Outcome::Ok {
            self.not_charged();
        }
        let bill = self.tab.bill().filter(|_| status.is_success());
        let warnings = bill.as_ref().and_then(|bill| bill.warnings());
        let warnings = warnings.filter(|warnings| !warnings.is_empty());
        let said = Said {
            route: Some(format!(";;{};opaque", self.provider.name)),
            tokens: self.exchange.token_standing,
            warnings: warnings.unwrap_or(&self.exchange.warnings),
            price: bill.as_ref().and_then(|bill| bill.price()),
        };
        let now = self.app.clock.monotonic();
        let own = respond::stamp_as(&mut headers, self.exchange, now, &said);
        AnswerHead { status, headers, own }
    }
}

/// What is shown of `piece`.
fn without(hidden: &Restore, piece: Piece) -> Bytes {
    match piece {
        Piece::Event(event) => hidden.event(&event),
        Piece::Raw(bytes) => bytes,
    }
}

/// What a provider says of a deletion.
#[derive(serde::Deserialize)]
struct Deletion {
    deleted: Option<bool>,
}

/// One of several calls that a list takes; `None` if nothing is there.
pub(super) async fn whole_page<C: Client>(
    passage: &mut Passage<'_, C>,
    path: &str,
    query: Option<&str>,
) -> Result<Option<Bytes>, Called> {
    let mut reply = match passage.ask_at(path, query, Bytes::new()).await {
        Called::Reply(reply) if reply.status.is_success() => reply,
        Called::Reply(mut reply) if reply.status == StatusCode::NOT_FOUND => {
            reply.body.finish().await;
            return Ok(None);
        }
        Called::Reply(_) => return Err(Called::Failed(Failure::NoAnswer)),
        called => return Err(called),
    };
    passage.read_json(&mut reply.body).await.map(Some).map_err(|unread| match unread {
        Unread::Gone => Called::Gone,
        Unread::Broken(BodyError::TimedOut) => Called::Failed(Failure::TimedOut),
        Unread::TooLarge | Unread::Broken(BodyError::Cut | BodyError::Garbled) => {
            Called::Failed(Failure::NoAnswer)
        }
    })
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

const fn outcome_of(success: bool) -> Outcome {
    if success { Outcome::Ok } else { Outcome::ProviderError }
}

fn outcome(status: StatusCode) -> Outcome {
    outcome_of(status.is_success() || status == StatusCode::NOT_MODIFIED)
}

async fn read_bounded(body: &mut Body) -> Result<Bytes, Unread> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.next().await.map_err(Unread::Broken)? {
        if whole.len() + piece.len() > LARGEST_JSON {
            return Err(Unread::TooLarge);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}
