//! Drafts: what an account owes for a month, made anew from the ledger.
//!
//! Of all accounts some thousand are in memory at a time, for one pass over the
//! ledger, and a draft is gone from it once it is written. The turn is taken for
//! each draft, so that nobody waits for all of them; what was read before is read
//! again where another invoice of the account has come to count meanwhile.

use std::collections::BTreeSet;

use super::calendar::{Month, Span};
use super::draft::{self, Billed, LATE, Sources};
use super::error::Refused;
use super::invoice::{Content, Invoice, Line};
use super::reading::{self, ByAccount, Reading};
use super::{Biller, Own};
use crate::base::clock::Timestamp;
use crate::config::Config;
use crate::ledger::{By, Damage, Filter};
use crate::store::billing::{Adjustment, AdjustmentKind, Status, Step};

/// Accounts whose usage is gathered in one pass over the ledger: a few kilobytes
/// each.
const PASS: usize = 16_384;
/// A UTC day, in microseconds.
const DAY: u64 = 86_400_000_000;

/// How a draft is made.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// Also if there is nothing on it.
    pub(super) wanted: bool,
    /// Of what is left where the ledger is damaged.
    pub(super) despite_damage: bool,
}

/// Refuses for `damage`, unless that is to be overlooked.
fn overlook(damage: Option<Damage>, despite_damage: bool) -> Result<(), Refused> {
    let Some(Damage { path, offset, fault, .. }) = damage else { return Ok(()) };
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let fault: &str = fault.into();
    let place = format!("{file} at byte {offset} ({fault})");
    if !despite_damage {
        return Err(Refused::LedgerDamaged(place));
    }
    tracing::warn!(place, "invoices are drafted though the ledger is damaged");
    Ok(())
}

impl Biller {
    /// Makes the account's draft of `month` anew.
    ///
    /// # Errors
    /// [`Refused`]: for a month that has not begun, or in which the account had
    /// nothing and was adjusted nothing, and where its invoice is final; also for a damaged ledger, unless
    /// the draft is to be made of what is left of it, `despite_damage`.
    pub fn draft(
        &self,
        config: &Config,
        month: Month,
        account: &str,
        despite_damage: bool,
    ) -> Result<Invoice, Refused> {
        let _turn = self.turn.lock();
        self.begun(config, month)?;
        let own = self.own(account)?;
        if let Some(number) = own.billed.closed(month) {
            return Err(Refused::AlreadyFinal(number.clone()));
        }
        let (reading, damage) = self.read(config, month, account, &own)?;
        overlook(damage, despite_damage)?;
        let adjusted =
            |it: &Adjustment| it.kind == AdjustmentKind::Invoice && it.month == month.to_string();
        if reading.usage().is_empty() && !own.adjustments.iter().any(adjusted) {
            self.known(account, &own)?;
            let end = reading.months().last().map(|(_, span)| span.to);
            if own.history.first().is_none_or(|first| Some(first.at) >= end) {
                return Err(Refused::NothingThen);
            }
        }
        let how = How { wanted: true, despite_damage };
        let draft = self.put(config, (month, account), &own, &reading, how)?;
        self.parts.invoices.flush()?;
        draft.ok_or(Refused::NothingThen)
    }

    /// Makes the drafts of `month` anew, of all accounts that owe or used something
    /// and have no final invoice.
    ///
    /// # Errors
    /// [`Refused`]: for a month that has not begun, and for a damaged ledger as
    /// [`Biller::draft`]; or the first account's whose draft cannot be made. Those of
    /// the others are made, and the log names each.
    pub fn draft_all(
        &self,
        config: &Config,
        month: Month,
        despite_damage: bool,
    ) -> Result<(), Refused> {
        self.draft_in_passes(config, month, despite_damage, PASS)
    }

    /// [`Biller::draft_all`], with the usage of so many accounts at a time in memory.
    pub(super) fn draft_in_passes(
        &self,
        config: &Config,
        month: Month,
        despite_damage: bool,
        pass: usize,
    ) -> Result<(), Refused> {
        let span = self.begun(config, month)?;
        let mut failed = None;
        let mut note = |account: &str, refused: Refused| {
            tracing::error!(account, error = %refused, "no invoice can be drafted");
            failed.get_or_insert(refused);
        };
        for accounts in self.accounts(month, span)?.chunks(pass) {
            let (mut readings, mut bases) = (ByAccount::default(), Vec::new());
            for account in accounts {
                match self.unread(config, month, account) {
                    Ok(Some((base, reading))) => {
                        readings.insert(account.as_str().into(), reading);
                        bases.push((account, base));
                    }
                    Ok(None) => {}
                    Err(refused) => note(account, refused),
                }
            }
            overlook(reading::read(&self.parts.ledger, &mut readings)?, despite_damage)?;
            let how = How { wanted: false, despite_damage };
            for (account, base) in bases {
                let Some(reading) = readings.remove(account.as_str()) else { continue };
                if let Err(refused) =
                    self.one_of_all(config, (month, account), (base, reading), how)
                {
                    // One account's trouble is not the others'.
                    note(account, refused);
                }
            }
            self.parts.invoices.flush()?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// All who have or had a plan, or any usage that an invoice of `month` may be
    /// about, in the order of their ids.
    fn accounts(&self, month: Month, span: Span) -> Result<Vec<String>, Refused> {
        // Months are at most 31 days; whole days are answered by the index alone.
        let back = DAY * 31 * u64::try_from(month.before(LATE).len()).unwrap_or_default();
        let from = span.from.0.saturating_sub(back) / DAY * DAY;
        let to = (span.to.0.div_ceil(DAY) + 2) * DAY;
        let (from, to) = (Some(Timestamp(from)), Some(Timestamp(to)));
        let used = self.parts.ledger.summary(&Filter { account: None, from, to }, By::Account)?;
        let used = used.into_iter().map(|row| row.by);
        let all: BTreeSet<String> =
            self.parts.history.assigned()?.into_iter().chain(used).collect();
        Ok(all.into_iter().collect())
    }

    /// What is to be read for the account's draft of `month`, and what its invoices
    /// were then; none where its invoice is final.
    pub(super) fn unread(
        &self,
        config: &Config,
        month: Month,
        account: &str,
    ) -> Result<Option<(String, Reading)>, Refused> {
        let billed = Billed::of(self.of_account(account)?.iter());
        if billed.closed(month).is_some() {
            return Ok(None);
        }
        let reading = Reading::of(billed.about(month, &config.timezone)?);
        Ok(Some((billed.base, reading)))
    }

    pub(super) fn one_of_all(
        &self,
        config: &Config,
        (month, account): (Month, &str),
        (base, reading): (String, Reading),
        how: How,
    ) -> Result<(), Refused> {
        let _turn = self.turn.lock();
        let own = self.own(account)?;
        if own.billed.closed(month).is_some() {
            return Ok(());
        }
        let reading = match own.billed.base == base {
            true => reading,
            false => {
                let (reading, damage) = self.read(config, month, account, &own)?;
                overlook(damage, how.despite_damage)?;
                reading
            }
        };
        self.put(config, (month, account), &own, &reading, how).map(drop)
    }

    /// What the ledger has of the months that the account's invoice of `month` is
    /// about, and the first damage that may have taken some of it away.
    pub(super) fn read(
        &self,
        config: &Config,
        month: Month,
        account: &str,
        own: &Own,
    ) -> Result<(Reading, Option<Damage>), Refused> {
        let months = own.billed.about(month, &config.timezone)?;
        let mut readings = ByAccount::default();
        readings.insert(account.into(), Reading::of(months));
        let damage = reading::read(&self.parts.ledger, &mut readings)?;
        Ok((readings.remove(account).unwrap_or_default(), damage))
    }

    /// Writes the account's draft of `month`; none where there is nothing on it,
    /// unless there was one or it is `wanted` all the same. One that would say what
    /// is said already stays, with its hash. The caller holds the turn and flushes.
    fn put(
        &self,
        config: &Config,
        (month, account): (Month, &str),
        own: &Own,
        reading: &Reading,
        How { wanted, despite_damage }: How,
    ) -> Result<Option<Invoice>, Refused> {
        let lines = self.lines(config, own, reading, &own.adjustments, despite_damage)?;
        let is_it =
            |it: &&Invoice| it.status == Status::Draft && it.content.period == month.to_string();
        let before = own.invoices.iter().find(is_it);
        if lines.is_empty() && before.is_none() && !wanted {
            return Ok(None);
        }
        let customer = self.parts.accounts.account(account)?.map(|account| account.name);
        let made = before.map(|draft| (draft.content.id.clone(), draft.content.created_at.clone()));
        let now = || self.parts.clock.wall().to_string();
        let (id, created_at) = made.unwrap_or_else(|| (self.new_id("inv"), now()));
        let content = Content {
            id,
            number: None,
            account: account.to_owned(),
            customer: customer.unwrap_or_else(|| account.to_owned()),
            period: month.to_string(),
            days: month.days(),
            span: reading.months().last().map(|(_, span)| *span),
            currency: config.invoicing.currency.to_string(),
            corrects: None,
            seller: config.invoicing.seller.clone(),
            tax: config.invoicing.tax.clone(),
            created_at,
            issued_at: None,
            issued_on: None,
            base: own.billed.base.clone(),
            total: draft::total(&lines),
            lines,
        };
        if let Some(before) = before.filter(|before| before.content == content) {
            return Ok(Some(before.clone()));
        }
        let document = Content { created_at: now(), ..content }.document(Status::Draft);
        let document = document.ok_or(Refused::TooLarge)?;
        self.parts.invoices.change(&document.id, &|kept| match kept {
            Some(kept) if kept.status != Status::Draft => Step::Keep,
            _ => Step::Put(document.clone(), None),
        })?;
        Invoice::try_from(&document).map(Some)
    }

    /// The lines of an account's invoice.
    pub(super) fn lines(
        &self,
        config: &Config,
        own: &Own,
        reading: &Reading,
        adjustments: &[Adjustment],
        despite_damage: bool,
    ) -> Result<Vec<Line>, Refused> {
        let (history, billed) = (&own.history, &own.billed);
        let sources = Sources { history, reading, adjustments, billed, despite_damage };
        sources.lines(&config.timezone, &config.invoicing)
    }
}
