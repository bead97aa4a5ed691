//! The lines of an invoice: each is rounded once, half-even, to the currency's
//! decimals, and the total is the sum of the rounded lines.

use jiff::tz::TimeZone;

use super::calendar::{Month, Span, length, shown};
use super::error::Refused;
use super::fees::{Fees, PlanFee, Time};
use super::invoice::{Basis, Line, Unit};
use super::usage::{Amount, Kind, Usage};
use crate::base::currency::Currency;
use crate::base::money::Money;
use crate::config::Tax;
use crate::store::billing::Adjustment;

/// The stretches of a fee that are named one by one.
const NAMED_SPANS: usize = 3;
/// Millionths of a percent in a whole.
const WHOLE: i128 = 100_000_000;

/// Lines in the making.
pub(super) struct Lines<'a> {
    /// The currency, to whose decimals each line is rounded.
    pub(super) currency: Currency,
    /// Where months begin and end.
    pub(super) zone: &'a TimeZone,
    /// The invoice's month.
    pub(super) period: Month,
    /// What there is so far.
    pub(super) lines: Vec<Line>,
}

impl Lines<'_> {
    /// The sum of the lines.
    pub(super) fn total(&self) -> Money {
        self.lines.iter().map(|line| line.total).sum()
    }

    /// A line for each plan of `fees`, the fees of `month`, which is `span`.
    ///
    /// # Errors
    /// [`Refused::TooLarge`].
    pub(super) fn fees(
        &mut self,
        (month, span): (Month, Span),
        fees: &Fees,
    ) -> Result<(), Refused> {
        let whole = span.micros();
        for (fee, time) in fees.plans() {
            let picos = fee.monthly_price.picos().checked_mul(i128::from(time.micros));
            let total = picos.and_then(|picos| self.currency.round(picos, i128::from(whole)));
            let total = total.ok_or(Refused::TooLarge)?;
            self.lines.push(Line {
                service: "plan".to_owned(),
                endpoint: fee.plan.clone(),
                description: self.fee_text(month, fee, time, whole),
                quantity: 1,
                unit_price: total,
                total,
                basis: Basis::Fee {
                    month: month.to_string(),
                    monthly_price: fee.monthly_price,
                    micros: time.micros,
                },
            });
        }
        Ok(())
    }

    fn fee_text(&self, month: Month, fee: &PlanFee, time: &Time, whole: u64) -> String {
        let price = self.currency.show(fee.monthly_price);
        let plan = format!("Plan {}, {} {price} a month", fee.plan, self.currency);
        let late = self.late(month);
        if time.micros.unsigned_abs() == whole && time.micros > 0 {
            return format!("{plan}{late}");
        }
        let sign = if time.micros < 0 { "less " } else { "" };
        let part = format!("{sign}{} of {}", length(time.micros.unsigned_abs()), length(whole));
        let spans = match time.spans.len() {
            0 => String::new(),
            1..=NAMED_SPANS => {
                let span = |span: &Span| {
                    format!("{} to {}", shown(span.from, self.zone), shown(span.to, self.zone))
                };
                time.spans.iter().map(span).collect::<Vec<_>>().join(", ") + ", "
            }
            many => format!("{many} times, "),
        };
        format!("{plan}: {spans}{part}{late}")
    }

    /// A line for each kind and unit price of `usage`, the usage of `month`.
    ///
    /// # Errors
    /// [`Refused::TooLarge`].
    pub(super) fn usage(&mut self, month: Month, usage: &Usage) -> Result<(), Refused> {
        for (kind, prices) in usage.kinds() {
            for (unit_price, amount) in prices.positions() {
                self.position(month, kind, unit_price, amount)?;
            }
        }
        Ok(())
    }

    fn position(
        &mut self,
        month: Month,
        kind: &Kind,
        unit_price: Option<Money>,
        amount: Amount,
    ) -> Result<(), Refused> {
        let total = self.currency.round(amount.exact.picos(), 1).ok_or(Refused::TooLarge)?;
        let (unit, late) = (kind.unit, self.late(month));
        let what = match &kind.model {
            Some(model) => format!("{}, {model}", kind.endpoint),
            None => kind.endpoint.to_string(),
        };
        let description = match unit_price {
            None => format!("{} {unit} at prices of their own: {what}{late}", amount.quantity),
            Some(price) if price.is_zero() => format!("{what}: {unit}, included{late}"),
            Some(price) => format!("{what}: {unit}{}{late}", self.per_million(unit, price)),
        };
        self.lines.push(Line {
            service: kind.service.to_string(),
            endpoint: kind.endpoint.to_string(),
            description,
            quantity: if unit_price.is_some() { amount.quantity } else { 1 },
            unit_price: unit_price.unwrap_or(amount.exact),
            total,
            basis: Basis::Usage {
                month: month.to_string(),
                model: kind.model.as_deref().map(str::to_owned),
                unit,
                sum_of: unit_price.is_none().then_some(amount.quantity),
                exact: amount.exact,
            },
        });
        Ok(())
    }

    /// What is said of the price of a token, which few people can read.
    fn per_million(&self, unit: Unit, price: Money) -> String {
        match unit {
            Unit::Requests => String::new(),
            Unit::Input | Unit::CachedInput | Unit::CacheWrite | Unit::Output => {
                let million = self.currency.show(price.times(1_000_000));
                format!(" at {} {million} a million", self.currency)
            }
        }
    }

    /// A line for an adjustment, whose amount is as fine as the currency.
    ///
    /// # Errors
    /// [`Refused::TooLarge`].
    pub(super) fn adjustment(&mut self, adjustment: &Adjustment) -> Result<(), Refused> {
        let amount = adjustment.amount;
        let total = self.currency.round(amount.picos(), 1).ok_or(Refused::TooLarge)?;
        self.lines.push(Line {
            service: "adjustment".to_owned(),
            endpoint: if amount < Money::ZERO { "credit" } else { "debit" }.to_owned(),
            description: adjustment.description.clone(),
            quantity: 1,
            unit_price: total,
            total,
            basis: Basis::Adjustment(adjustment.id.clone()),
        });
        Ok(())
    }

    /// A line for the tax on all lines so far: rate × their sum; where they
    /// contain it, what of them it is, in words, and nothing on top.
    ///
    /// # Errors
    /// [`Refused::TooLarge`].
    pub(super) fn tax(&mut self, tax: &Tax) -> Result<(), Refused> {
        let base = self.total();
        let rate = i128::from(tax.rate);
        let divisor = if tax.inclusive { WHOLE + rate } else { WHOLE };
        let share = base.picos().checked_mul(rate);
        let share = share.and_then(|picos| self.currency.round(picos, divisor));
        let share = share.ok_or(Refused::TooLarge)?;
        // A rate has six decimals, an amount twelve.
        let percent = Money::from_picos(rate * 1_000_000);
        let total = if tax.inclusive { Money::ZERO } else { share };
        let (name, base, currency) = (&tax.name, self.currency.show(base), self.currency);
        self.lines.push(Line {
            service: "tax".to_owned(),
            endpoint: name.clone(),
            description: if tax.inclusive {
                let share = currency.show(share);
                format!("{name} {percent}%: {currency} {share} is contained in {currency} {base}")
            } else {
                format!("{name} {percent}% on {currency} {base}")
            },
            quantity: 1,
            unit_price: total,
            total,
            basis: Basis::Tax,
        });
        Ok(())
    }

    /// Lines of a credit note: what is given back in all, `amounts` with the tax
    /// in them, each without its tax, and the tax in a line.
    ///
    /// # Errors
    /// [`Refused::TooLarge`].
    pub(super) fn credits(
        &mut self,
        amounts: &[(String, Money)],
        tax: Option<&Tax>,
    ) -> Result<(), Refused> {
        let rate = tax.map_or(0, |tax| i128::from(tax.rate));
        let on_top = tax.filter(|tax| !tax.inclusive);
        let divisor = if on_top.is_some() { WHOLE + rate } else { WHOLE };
        for (description, amount) in amounts {
            let net = amount.picos().checked_mul(WHOLE);
            let net = net.and_then(|picos| self.currency.round(picos, divisor));
            let total = -net.ok_or(Refused::TooLarge)?;
            self.lines.push(Line {
                service: "adjustment".to_owned(),
                endpoint: "credit_note".to_owned(),
                description: description.clone(),
                quantity: 1,
                unit_price: total,
                total,
                basis: Basis::Credit,
            });
        }
        let Some(tax) = tax else { return Ok(()) };
        let net = self.total();
        self.tax(tax)?;
        if let (false, Some(line)) = (tax.inclusive, self.lines.last_mut()) {
            // The lines make up what is given back, to the last unit.
            let whole: Money = amounts.iter().map(|(_, amount)| *amount).sum();
            line.total = -whole - net;
            line.unit_price = line.total;
        }
        Ok(())
    }

    /// What is said of a month other than the invoice's.
    fn late(&self, month: Month) -> String {
        if month == self.period { String::new() } else { format!(", of {month}") }
    }
}
