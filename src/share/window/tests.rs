use futures_util::FutureExt;

use super::*;
use crate::base::clock::{TestClock, Timestamp};
use crate::share::{Passenger, alone};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::labels::Scope;

const WINDOW: Duration = Duration::from_millis(100);

struct Scene {
    windows: Windows,
    clock: TestClock,
    metrics: Metrics,
    aboard: Vec<Passenger>,
}

impl Scene {
    fn new() -> Self {
        let metrics = Metrics::new(&[]).unwrap();
        Self {
            windows: Windows::default(),
            clock: TestClock::at(Timestamp(0)),
            metrics,
            aboard: Vec::new(),
        }
    }

    fn come(&mut self, key: u8, most: usize) -> (Place, Held) {
        let (pilot, passenger) = alone(true, false);
        self.aboard.push(passenger);
        let now = self.clock.monotonic();
        let coming = Coming { pilot, plain: true, now };
        let key = FlightKey { request: [key; 32], stream: false };
        self.windows.come(key, now + WINDOW, most, coming, || self.metrics.enter(Scope::Window))
    }

    fn waiting(&self) -> bool {
        let text = self.metrics.render().unwrap();
        !text.contains("tollgate_inflight{scope=\"window\"} 0")
    }

    /// The turn, if it has come.
    fn turn(&self, held: &mut Held) -> Option<Turn> {
        held.turn(&self.clock).now_or_never()
    }

    /// The number of those that it is told to make the call for, besides itself.
    fn leads(&self, held: &mut Held) -> Option<Vec<Fellow>> {
        match self.turn(held)? {
            Turn::Lead(_, fellows) => Some(fellows),
            _ => None,
        }
    }
}

#[tokio::test]
async fn the_first_leads_when_the_window_closes_and_not_before() {
    let mut scene = Scene::new();
    let (_, mut first) = scene.come(1, 9);
    scene.clock.advance(WINDOW / 2);
    let (_, mut second) = scene.come(1, 9);
    let (_, mut other) = scene.come(2, 9);
    scene.clock.advance(WINDOW / 2 - Duration::from_micros(1));
    assert!(scene.turn(&mut first).is_none() && scene.turn(&mut second).is_none());
    assert!(scene.waiting());
    scene.clock.advance(Duration::from_micros(1));
    // Whoever notices closes it; the first one leads.
    assert!(scene.turn(&mut second).is_none());
    let fellows = scene.leads(&mut first).unwrap();
    assert_eq!(fellows.len(), 1);
    assert!(scene.turn(&mut other).is_none());
    assert_eq!(scene.windows.open(), 1);
    // What comes now is a window of its own.
    let (_, mut late) = scene.come(1, 9);
    assert!(scene.turn(&mut late).is_none());
    drop(fellows);
    assert!(matches!(scene.turn(&mut second), Some(Turn::Lost)));
}

#[tokio::test]
async fn a_full_window_closes_at_once() {
    let mut scene = Scene::new();
    let mut all: Vec<_> = (0..3).map(|_| scene.come(1, 3).1).collect();
    assert_eq!(scene.leads(&mut all[0]).unwrap().len(), 2);
    assert_eq!(scene.windows.open(), 0);
    assert!(!scene.waiting());
}

#[tokio::test]
async fn who_leaves_is_no_part_of_it() {
    let mut scene = Scene::new();
    let (place, mut first) = scene.come(1, 3);
    let (_, mut second) = scene.come(1, 3);
    assert!(place.leave());
    assert!(matches!(scene.turn(&mut first), Some(Turn::Left(_))));
    assert!(!place.leave(), "it has left already");
    scene.clock.advance(WINDOW);
    assert!(scene.leads(&mut second).unwrap().is_empty());
    let (third, held) = scene.come(1, 3);
    drop(held);
    assert!(!third.leave(), "dropping it leaves");
    assert!(scene.windows.open() == 0 && !scene.waiting());
}

#[tokio::test]
async fn after_the_close_nobody_leaves_and_another_leads_for_who_is_gone() {
    let mut scene = Scene::new();
    let (place, first) = scene.come(1, 3);
    let (_, mut second) = scene.come(1, 3);
    let (_, third) = scene.come(1, 3);
    assert!(!place.leave(), "a call is made for it");
    drop(first);
    let fellows = scene.leads(&mut second).unwrap();
    assert_eq!(fellows.len(), 1);
    drop(third);
    // One that is gone needs no answer.
    fellows.into_iter().for_each(|fellow| fellow.go_alone(Alone::default()));
}

#[tokio::test]
async fn a_place_in_a_new_window_is_not_that_in_the_last() {
    let mut scene = Scene::new();
    let (old, mut first) = scene.come(1, 9);
    scene.clock.advance(WINDOW);
    assert!(scene.leads(&mut first).is_some());
    let (_, mut second) = scene.come(1, 9);
    assert!(!old.leave());
    drop(first);
    scene.clock.advance(WINDOW);
    assert!(scene.leads(&mut second).is_some());
}
