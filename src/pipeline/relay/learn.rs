//! What the understood lane makes at a provider: responses, and chats that are
//! stored. They are the account's, as what the opaque lane makes is.

use crate::config::Ownership;
use crate::intake::endpoint::Endpoint;
use crate::opaque::Tenant;
use crate::opaque::made::{Origin, may_name_outputs};
use crate::pipeline::relay::pilot::Flying;
use crate::refusal::Refusal;

#[derive(serde::Deserialize)]
struct Kept {
    #[serde(default)]
    store: Option<bool>,
}

impl Flying<'_> {
    /// Whether the provider keeps the answer, so that it can be named later.
    pub(super) fn makes(&self) -> bool {
        let body = self.request.body();
        self.snapshot.config.opaque.ownership == Ownership::Enforce
            && match self.endpoint {
                Endpoint::Responses => true,
                Endpoint::ChatCompletions => {
                    memchr::memmem::find(body, b"store").is_some()
                        && serde_json::from_slice::<Kept>(body)
                            .is_ok_and(|kept| kept.store == Some(true))
                }
                Endpoint::Completions
                | Endpoint::Embeddings
                | Endpoint::Messages
                | Endpoint::CountTokens => false,
            }
    }

    /// Notes a whole answer, and what it names of its making, as the account's, in
    /// the store before the client has it; whether any of it was new.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the answer must then not be sent.
    pub(super) async fn learn(&self, answer: &[u8]) -> Result<bool, Refusal> {
        let tenant = Tenant::new(&*self.app.owners, self.calls.owner());
        let kind = match self.endpoint {
            Endpoint::ChatCompletions => "chat/completions",
            _ => "responses",
        };
        let new = tenant.learn(answer, Origin { kind, whole: None, items: false })?;
        if new {
            tenant.keep().await?;
        }
        Ok(new)
    }

    /// Notes an answer by these events of its stream. It is `known` once it has
    /// named itself; after that only what tools made is looked for.
    ///
    /// # Errors
    /// As [`Flying::learn`].
    pub(super) async fn learn_events(
        &self,
        events: &[u8],
        known: &mut bool,
    ) -> Result<(), Refusal> {
        if *known && !may_name_outputs(events) {
            return Ok(());
        }
        for line in events.split(|byte| matches!(byte, b'\n' | b'\r')) {
            if let Some(data) = line.strip_prefix(b"data:") {
                *known |= self.learn(data).await?;
            }
        }
        Ok(())
    }
}
