//! Sending what is due: at most one delivery at a time to each address, so that
//! none waits for another.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use super::deliver::Outcome;
use super::lane::{Failure, Next};
use super::{Last, Webhooks, event};
use crate::base::id::RecordId;
use crate::config::Webhook;
use crate::notice::Notice;
use crate::store::outbox::{Entry, Recipient};
use crate::telemetry::metrics::Delivery;

/// How often the clock is looked at while something waits for a later moment.
const LOOK: Duration = Duration::from_millis(250);

/// A delivery that runs. Its address is free again once this is dropped.
struct Job {
    webhooks: Arc<Webhooks>,
    recipient: Recipient,
    webhook: Arc<Webhook>,
    id: RecordId,
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(endpoint) = self.webhooks.state.lock().endpoint(self.recipient) {
            endpoint.busy = false;
        }
        self.webhooks.changed.notify_one();
    }
}

impl Webhooks {
    /// Keeps what is raised and sends what is due, for ever. `used_up` gives the
    /// notices that are true of the present month, announced or not.
    pub async fn run(self: Arc<Self>, used_up: impl Fn() -> Vec<Notice> + Clone + Send + 'static) {
        tokio::join!(self.clone().send_all(), self.keep_all(used_up));
    }

    async fn keep_all(self: Arc<Self>, used_up: impl Fn() -> Vec<Notice> + Clone + Send + 'static) {
        loop {
            self.heard.notified().await;
            let (this, used_up) = (self.clone(), used_up.clone());
            let kept = tokio::task::spawn_blocking(move || {
                this.keep_raised();
                this.keep_missed(&used_up);
            });
            if let Err(error) = kept.await {
                tracing::error!(%error, "notices cannot be kept");
            }
        }
    }

    async fn send_all(self: Arc<Self>) {
        loop {
            let (jobs, later) = self.due();
            for job in jobs {
                tokio::spawn(job.run());
            }
            if later {
                // Time passing is the other thing that makes something due.
                let _looked = tokio::time::timeout(LOOK, self.changed.notified()).await;
            } else {
                self.changed.notified().await;
            }
        }
    }

    /// What is to be sent now, and whether something waits for a later moment.
    fn due(self: &Arc<Self>) -> (Vec<Job>, bool) {
        let now = self.clock.monotonic();
        let (mut jobs, mut later) = (Vec::new(), false);
        for endpoint in &mut self.state.lock().endpoints {
            if endpoint.busy {
                continue;
            }
            match endpoint.lane.next(now) {
                Next::Now(id) => {
                    endpoint.busy = true;
                    jobs.push(Job {
                        webhooks: self.clone(),
                        recipient: endpoint.recipient,
                        webhook: endpoint.webhook.clone(),
                        id,
                    });
                }
                Next::Later => later = true,
                Next::Nothing => {}
            }
        }
        (jobs, later)
    }
}

impl Job {
    async fn run(self) {
        let webhooks = &self.webhooks;
        match webhooks.outbox.entry(self.id) {
            Ok(Some(entry)) => {
                let now = webhooks.clock.wall();
                let outcome = webhooks.courier.deliver(&self.webhook, &entry, now).await;
                self.note(&entry, outcome);
            }
            Ok(None) => {
                let mut state = webhooks.state.lock();
                if let Some(endpoint) = state.endpoint(self.recipient) {
                    endpoint.lane.remove(self.id);
                }
                webhooks.finish(&mut state, self.id, self.recipient);
            }
            Err(error) => {
                tracing::error!(%error, "an event cannot be read");
                self.put_off(Failure::Refused);
            }
        }
    }

    fn note(&self, entry: &Entry, outcome: Outcome) {
        let webhooks = &self.webhooks;
        let (id, url) = (event::public_id(self.id), &self.webhook.shown);
        let result = match outcome.failure {
            None => Delivery::Ok,
            Some(_) => Delivery::Failed,
        };
        if let Some(endpoint) = webhooks.state.lock().endpoint(self.recipient) {
            endpoint.last = Some(Last {
                time: webhooks.clock.wall().to_string(),
                event: id.clone(),
                result: result.into(),
                status: outcome.status,
                error: outcome.error,
            });
        }
        match outcome.failure {
            None => {
                tracing::debug!(event = id, kind = entry.kind, %url, "an event was taken");
                let mut state = webhooks.state.lock();
                if let Some(endpoint) = state.endpoint(self.recipient) {
                    endpoint.lane.delivered(self.id);
                }
                webhooks.finish(&mut state, self.id, self.recipient);
            }
            Some(failure) => {
                let (status, error) = (outcome.status, outcome.error.unwrap_or_default());
                tracing::warn!(event = id, %url, status, error, "an event was not taken");
                self.put_off(failure);
            }
        }
        // Last: what is counted is noted, and the time of the next attempt is set.
        webhooks.metrics.webhooks().delivery(result);
    }

    /// Tries again later, or gives up what is too old.
    fn put_off(&self, failure: Failure) {
        let webhooks = &self.webhooks;
        let now = (webhooks.clock.monotonic(), webhooks.clock.wall());
        let jitter = rand::rng().random_range(0..=400);
        let mut state = webhooks.state.lock();
        let Some(endpoint) = state.endpoint(self.recipient) else { return };
        for over in endpoint.lane.failed(self.id, failure, now, jitter) {
            let url = &self.webhook.shown;
            tracing::error!(event = event::public_id(over), %url, "an event is given up");
            webhooks.metrics.webhooks().delivery(Delivery::GivenUp);
            webhooks.finish(&mut state, over, self.recipient);
        }
    }
}
