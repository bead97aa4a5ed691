//! Those that one call is made for: each is shown its own choice while it comes, and
//! told at the end what it gets.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use crate::app::App;
use crate::base::money::Money;
use crate::ledger::record::Outcome;
use crate::meter::estimate;
use crate::meter::stream::StreamMeter;
use crate::meter::strip;
use crate::refusal::Refusal;
use crate::share::samples::{Dealer, Parted, shares};
use crate::share::window::{Alone, Past};
use crate::share::{End, Head, Landing, Passenger, Pilot};

/// One of those that a call is made for.
pub(super) struct Seat<'p> {
    pub(super) pilot: &'p Pilot,
    /// Whether it wants the answer without what Tollgate asked for itself.
    pub(super) plain: bool,
    /// Since when it waits for the one who makes the call; `None` is that one.
    pub(super) since: Option<Duration>,
    /// How long the one who makes the call has waited before.
    pub(super) before: Duration,
}

/// All of them, in the order of their choices.
pub(super) struct Table<'p> {
    app: &'p App,
    seats: Vec<Seat<'p>>,
    dealer: Dealer,
    meters: Vec<StreamMeter>,
}

/// What a call has given.
pub(super) enum Given {
    /// Nothing, or what was to be had of it is shown.
    Nothing,
    /// A whole answer.
    Whole(Arc<Head>, Bytes),
}

/// What one of them gets in the end.
pub(super) enum Deal {
    /// The last bytes of its answer.
    Last(Bytes, Landing),
    /// No answer.
    Refused(Refusal, Landing),
    /// Nothing: it asks for itself.
    Alone(Alone),
}

impl<'p> Table<'p> {
    pub(super) fn new(app: &'p App, seats: Vec<Seat<'p>>) -> Self {
        let count = seats.len();
        let meters = (0..count).map(|_| StreamMeter::new()).collect();
        Self { app, seats, dealer: Dealer::new(count), meters }
    }

    /// Resolves once all of them have left.
    pub(super) fn left(&self) -> impl Future<Output = ()> + use<'p> {
        let pilots: Vec<&'p Pilot> = self.seats.iter().map(|seat| seat.pilot).collect();
        async move {
            for pilot in pilots {
                pilot.abandoned().await;
            }
        }
    }

    /// Reads the answer to the call: shows each its own events as they come. `None`
    /// where there is no answer.
    pub(super) async fn read(&mut self, mut passenger: Passenger) -> Option<Given> {
        let head = passenger.head().await.ok()?;
        if !head.streamed {
            let (body, _) = passenger.whole().await.ok()?;
            return Some(Given::Whole(head, body));
        }
        loop {
            self.room().await;
            let step = passenger.next().await.ok()?;
            let Self { app, seats, dealer, meters } = self;
            let mut show = |caller: usize, event: Bytes| {
                let (Some(seat), Some(meter)) = (seats.get(caller), meters.get_mut(caller)) else {
                    return;
                };
                meter.observe(&event);
                if !seat.pilot.has_departed() {
                    seat.pilot.depart(seat.head(app, &head, true));
                }
                let event = if seat.plain { strip::strip_null_usage(&event) } else { event };
                seat.pilot.push(event.clone(), event);
            };
            dealer.take(step.bytes, &mut show);
            if step.end.is_some() {
                dealer.finish(&mut show);
                return Some(Given::Nothing);
            }
        }
    }

    /// Waits until one of those that are there has read most of what it was shown: who
    /// is slow holds up nobody.
    async fn room(&self) {
        if self.seats.iter().any(|seat| seat.pilot.has_room()) {
            return;
        }
        let here = self.seats.iter().filter(|seat| !seat.pilot.is_abandoned());
        let mut waits: Vec<_> = here.map(|seat| Box::pin(seat.pilot.room())).collect();
        // Without any, the call is being given up.
        std::future::poll_fn(|context| {
            let ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
            if ready || waits.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// What each gets of a call that has ended, has `given` this, and whose prompt
    /// alone cost `prompt`. What may be tried again, and can be where more samples are
    /// not made in a call, goes on there alone after the attempts of `further`, until
    /// `deadline`.
    pub(super) fn deal(
        self,
        given: Given,
        end: &End,
        prompt: Money,
        deadline: Instant,
        further: impl FnOnce() -> Option<Past>,
    ) -> Vec<Deal> {
        let Self { app, seats, dealer, meters } = self;
        let parted = match &given {
            Given::Whole(head, body) if head.status.is_success() => {
                Parted::read(body, 0..body.len())
            }
            Given::Whole(..) | Given::Nothing => None,
        };
        let weights: Vec<u64> = match &parted {
            Some(parted) => {
                let weight = |caller| parted.choice(caller).map_or(0, estimate::answer_tokens);
                (0..seats.len()).map(weight).collect()
            }
            None => meters.into_iter().map(|meter| meter.finish().output).collect(),
        };
        let again = may_go_on(&given, end).then(further).flatten();
        let shares = shares(end.landing(), prompt, &weights).into_iter().zip(&seats).enumerate();
        let deal = |(caller, (landing, seat)): (usize, (Landing, &Seat<'_>))| {
            let landing = Landing { waited: seat.waited(app, landing.waited), ..landing };
            let alone = |past, deadline| Deal::Alone(Alone { past, spent: landing.cost, deadline });
            if let Some(past) = &again {
                return alone(past.clone(), Some(deadline));
            }
            match (&given, end) {
                _ if seat.pilot.has_departed() => match end {
                    End::Landed(_) if landing.broken => Deal::Last(Bytes::new(), landing),
                    End::Landed(_) => {
                        let wants = !seat.plain && landing.outcome == Outcome::Ok;
                        let last = dealer.last(caller, wants.then_some(&landing.tokens));
                        Deal::Last(last, landing)
                    }
                    End::Refused(refusal, _) => Deal::Refused(Refusal::clone(refusal), landing),
                },
                (Given::Whole(head, body), End::Landed(_)) => {
                    let own = match &parted {
                        Some(parted) if parted.choice(caller).is_some() => {
                            parted.of(caller, Some(&landing.tokens))
                        }
                        // A refusal may be of there being several.
                        _ if is_for_each(head.status) => return alone(Past::default(), None),
                        _ => body.clone(),
                    };
                    seat.pilot.depart(seat.head(app, head, false));
                    Deal::Last(own, landing)
                }
                (_, End::Refused(refusal, _)) => Deal::Refused(Refusal::clone(refusal), landing),
                // A stream without an event of its own, or nobody is there any more.
                (Given::Nothing, End::Landed(_)) => alone(Past::default(), None),
            }
        };
        shares.map(deal).collect()
    }
}

impl Seat<'_> {
    /// How long it has waited for others, where the call has for `called`.
    fn waited(&self, app: &App, called: Duration) -> Duration {
        match self.since {
            Some(since) => app.clock.monotonic().saturating_sub(since),
            None => self.before + called,
        }
    }

    /// The head of its answer.
    fn head(&self, app: &App, head: &Head, streamed: bool) -> Head {
        Head {
            status: head.status,
            headers: head.headers.clone(),
            provider: head.provider.clone(),
            prices: head.prices,
            choice: head.choice,
            streamed,
            batched: true,
            waited: self.waited(app, head.waited),
        }
    }
}

/// Whether an answer without a caller's choice has it ask for itself: a success that
/// lacks it, or a refusal that may be of there being several.
fn is_for_each(status: StatusCode) -> bool {
    status.is_success()
        || matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY)
}

/// Whether another provider may do better than what a call came to.
fn may_go_on(given: &Given, end: &End) -> bool {
    match (given, end) {
        (_, End::Refused(_, landing)) => {
            landing.called && landing.outcome == Outcome::ProviderError
        }
        (Given::Whole(head, _), End::Landed(_)) => head.status == StatusCode::TOO_MANY_REQUESTS,
        (Given::Nothing, End::Landed(_)) => false,
    }
}
