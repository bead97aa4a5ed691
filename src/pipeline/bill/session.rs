//! A session: one request that lasts, and has a record each minute.
//!
//! Its records are parts: what was used is in exactly one of them, and the first
//! that is written charges for all. The next part is begun in the journal before
//! anything of it is metered, so that what a crash cuts off is closed as `lost`.

use crate::base::money::Money;
use crate::ledger::record::{Outcome, Tokens};
use crate::pipeline::bill::calls::Calls;
use crate::pipeline::bill::{Bill, storage_unavailable};
use crate::refusal::Refusal;

impl Bill<'_> {
    /// Makes the request a session.
    pub(in crate::pipeline) fn begin_session(&mut self) {
        self.record.session = Some(self.record.id);
        // No price of its tokens is known.
        self.bear(Money::ZERO);
    }

    /// Whether the record goes on with a session, for which the first has charged.
    pub(super) fn goes_on(&self) -> bool {
        self.record.session.is_some_and(|first| first != self.record.id)
    }

    /// Writes what the session used since its last record, `tokens` among it, and
    /// begins the next part.
    ///
    /// # Errors
    /// 503 `storage_unavailable`; the session must then end.
    pub(in crate::pipeline) async fn part(
        &mut self,
        calls: &mut Calls<'_>,
        status: u16,
        tokens: Tokens,
    ) -> Result<(), Refusal> {
        let now = self.app.clock.monotonic();
        let (settled, duration) = self.put_down(Outcome::Ok, status, || (tokens, false), now)?;
        let (series, sample) = self.sample(duration);
        series.observe_part(&sample);
        self.pay();
        let now = self.app.clock.wall();
        self.started = self.app.clock.monotonic();
        let record = &mut self.record;
        record.id = self.app.record_id(now);
        record.time = now;
        (record.bytes_in, record.bytes_out, record.first_byte_ms) = (0, 0, None);
        calls.go_on(record)?;
        let durable = self.app.ledger.durable(settled).await;
        self.app.journal_took(durable).map_err(|_| storage_unavailable())
    }
}
