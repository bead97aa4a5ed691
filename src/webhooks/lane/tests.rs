use proptest::prelude::*;

use super::*;
use crate::base::id::RecordIds;

const NOW: Duration = Duration::from_secs(86_400);
const MADE: Timestamp = Timestamp(1_781_524_800_000_000);

fn lane(count: usize) -> (Lane, Vec<RecordId>) {
    let ids = RecordIds::default();
    let ids: Vec<RecordId> = (0..count).map(|_| ids.next(MADE)).collect();
    let mut lane = Lane::default();
    for id in ids.iter().rev() {
        lane.add(*id, MADE);
    }
    (lane, ids)
}

fn after(seconds: u64) -> (Duration, Timestamp) {
    (NOW + Duration::from_secs(seconds), Timestamp(MADE.0 + seconds * 1_000_000))
}

#[test]
fn an_address_that_is_away_keeps_the_order_of_its_events() {
    let (mut lane, ids) = lane(3);
    assert!(lane.failed(ids[0], Failure::Away, after(0), 400).is_empty());
    assert_eq!(lane.next(after(5).0), Next::Later);
    assert_eq!(lane.next(after(6).0), Next::Now(ids[0]));
    lane.failed(ids[0], Failure::Away, after(6), 0);
    assert_eq!(lane.next(after(13).0), Next::Later);
    assert_eq!(lane.next(after(14).0), Next::Now(ids[0]));
    for id in ids {
        assert_eq!(lane.next(after(14).0), Next::Now(id));
        lane.delivered(id);
    }
    assert_eq!(lane.next(after(14).0), Next::Nothing);
}

#[test]
fn an_event_that_is_refused_does_not_hold_the_others_up() {
    let (mut lane, ids) = lane(2);
    lane.failed(ids[0], Failure::Refused, after(0), 200);
    assert_eq!(lane.next(after(0).0), Next::Now(ids[1]));
    lane.delivered(ids[1]);
    assert_eq!(lane.next(after(4).0), Next::Later);
    assert_eq!(lane.next(after(5).0), Next::Now(ids[0]));
}

#[test]
fn what_is_three_days_old_is_given_up_after_one_more_try() {
    const DAYS: u64 = 3 * 86_400;
    let (mut refusing, ids) = lane(2);
    assert!(refusing.failed(ids[0], Failure::Refused, after(DAYS - 1), 200).is_empty());
    assert_eq!(refusing.failed(ids[0], Failure::Refused, after(DAYS), 200), [ids[0]]);
    assert_eq!(refusing.next(after(DAYS).0), Next::Now(ids[1]));
    let (mut away, ids) = lane(2);
    assert_eq!(away.failed(ids[0], Failure::Away, after(DAYS), 200), ids);
    assert_eq!(away.next(after(DAYS).0), Next::Nothing);
}

proptest! {
    /// Each wait is twice the one before, within 20 %, from 5 s to 1 h.
    #[test]
    fn waits_double_from_5_s_to_1_h(jitters in prop::collection::vec(0..=400_u32, 1..30)) {
        let (mut lane, ids) = lane(1);
        let mut now = NOW;
        for (place, jitter) in jitters.into_iter().enumerate() {
            prop_assert_eq!(lane.next(now), Next::Now(ids[0]));
            lane.failed(ids[0], Failure::Away, (now, MADE), jitter);
            let wait = Duration::from_secs((5 << place.min(10)).min(3600));
            prop_assert_eq!(lane.next(now + wait * 4 / 5 - Duration::from_millis(1)), Next::Later);
            now += wait * 6 / 5;
        }
    }

    /// Whatever fails, every event is taken once, and after an outage in order.
    #[test]
    fn every_event_is_taken_once(outages in prop::collection::vec(any::<bool>(), 0..60)) {
        let (mut lane, ids) = lane(5);
        let mut taken = Vec::new();
        let (mut now, mut outages) = (NOW, outages.into_iter());
        loop {
            match lane.next(now) {
                Next::Nothing => break,
                Next::Later => now += Duration::from_secs(1),
                Next::Now(id) if outages.next() == Some(true) => {
                    lane.failed(id, Failure::Away, (now, MADE), 200);
                }
                Next::Now(id) => {
                    lane.delivered(id);
                    taken.push(id);
                }
            }
        }
        prop_assert_eq!(taken, ids);
    }
}
