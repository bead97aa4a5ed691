//! The thresholds of a month's limits, 80 and 100 percent: where an account
//! stands, and which request came to one.

use crate::base::money::Money;
use crate::notice::Kind;

/// The highest threshold of a limit that was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// None.
    #[default]
    Below,
    /// 80 percent.
    Eighty,
    /// All of it.
    Full,
}

/// The thresholds that an account and its key have reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Of the requests in a month.
    pub quota: Level,
    /// Of the account's dollars in a month.
    pub budget: Level,
    /// Of the key's dollars in a month.
    pub key_budget: Level,
}

/// A threshold that a charged request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Which limit.
    pub kind: Kind,
    /// In percent.
    pub threshold: u8,
    /// What was used then: requests, or dollars.
    pub used: String,
    /// The limit.
    pub limit: String,
}

/// What the charging of a request came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    /// The thresholds that it came to and that were not told before.
    pub crossings: Vec<Crossing>,
    /// Where the account and its key stand then.
    pub levels: Levels,
}

/// The thresholds of a month that were told: each is told once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Level {
    /// The levels that are told, the lowest first.
    pub const TOLD: [Self; 2] = [Self::Eighty, Self::Full];

    /// The level of `used` against `limit`. Nothing has reached a limit of
    /// nothing but what is used.
    pub(super) const fn of(used: u128, limit: u128) -> Self {
        if used == 0 {
            Self::Below
        } else if used >= limit {
            Self::Full
        } else if used.saturating_mul(5) >= limit.saturating_mul(4) {
            Self::Eighty
        } else {
            Self::Below
        }
    }

    /// In percent; `None` below the first threshold.
    pub const fn percent(self) -> Option<u8> {
        match self {
            Self::Below => None,
            Self::Eighty => Some(80),
            Self::Full => Some(100),
        }
    }
}

impl Levels {
    /// The limits of which a threshold was reached, each with its highest in
    /// percent.
    pub fn reached(&self) -> impl Iterator<Item = (Kind, u8)> {
        let all = [
            (Kind::Quota, self.quota),
            (Kind::Budget, self.budget),
            (Kind::KeyBudget, self.key_budget),
        ];
        all.into_iter().filter_map(|(kind, level)| Some((kind, level.percent()?)))
    }
}

impl Marks {
    /// Notes the thresholds that a step from `before` to `after` came to and that
    /// were not told before.
    pub(super) fn cross(
        &mut self,
        kind: Kind,
        (before, after): (u128, u128),
        limit: u128,
        crossings: &mut Vec<Crossing>,
        show: impl Fn(u128) -> String,
    ) {
        let (from, to) = (Level::of(before, limit), Level::of(after, limit));
        if from == to {
            return;
        }
        for level in Level::TOLD.into_iter().filter(|level| from < *level && *level <= to) {
            let bit = match (kind, level) {
                (Kind::Quota, Level::Full) => 1,
                (Kind::Quota, _) => 2,
                (_, Level::Full) => 4,
                (_, _) => 8,
            };
            let Some(threshold) = level.percent().filter(|_| self.0 & bit == 0) else { continue };
            self.0 |= bit;
            crossings.push(Crossing { kind, threshold, used: show(after), limit: show(limit) });
        }
    }

    /// The same for dollars.
    pub(super) fn cross_dollars(
        &mut self,
        kind: Kind,
        (before, after): (Money, Money),
        budget: Money,
        crossings: &mut Vec<Crossing>,
    ) {
        let picos = |amount: Money| u128::try_from(amount.picos()).unwrap_or(0);
        let show =
            |picos: u128| Money::from_picos(i128::try_from(picos).unwrap_or(i128::MAX)).to_string();
        self.cross(kind, (picos(before), picos(after)), picos(budget), crossings, show);
    }
}
