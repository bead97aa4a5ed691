//! The slots and the queue beside a plain list of those who wait.

use super::*;

/// What happens next to the slots.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody asks: account, and its priority.
    Ask(usize, Priority),
    /// The nth that holds a slot or a place ends.
    Drop(usize),
    /// Time passes, in seconds.
    Pass(u64),
    /// Slots, those reserved, and places.
    Limits(u32, u32, u32),
    Reserve(bool),
}

fn priority() -> impl Strategy<Value = Priority> {
    (0_usize..3).prop_map(|nth| Priority::ALL[nth])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_usize..4, priority()).prop_map(|(account, priority)| Step::Ask(account, priority)),
        6 => any::<usize>().prop_map(Step::Drop),
        3 => (0_u64..4).prop_map(Step::Pass),
        1 => (0_u32..5, 0_u32..3, 0_u32..9).prop_map(|(cap, own, room)| Step::Limits(cap, own, room)),
        1 => any::<bool>().prop_map(Step::Reserve),
    ];
    prop::collection::vec(step, 1..200)
}

/// A waiter of the list.
struct Listed {
    account: usize,
    priority: Priority,
    since: u64,
    place: Waiting,
}

/// Where a flow stands, of which there is one for each account and priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stand {
    level: u64,
    turn: u64,
}

/// The rules, with a list instead of indexes: all is looked for anew each time.
struct Model {
    cap: usize,
    common: usize,
    reserved: usize,
    room: usize,
    reserving: bool,
    now: u64,
    turns: u64,
    /// In the order of arrival.
    list: Vec<Listed>,
    stands: Vec<((Priority, usize), Stand)>,
    running: Vec<(Priority, Result<CallSlot, Waiting>)>,
}

/// A quarter of the 8 s that one may wait.
const QUARTER: u64 = 2;

impl Model {
    fn update_caps(&mut self) {
        let reserved = self.reserved.min(self.cap.saturating_sub(1));
        self.common = self.cap - if self.reserving { reserved } else { 0 };
    }

    fn commons(&self) -> usize {
        self.running.iter().filter(|(priority, _)| *priority != Priority::Dedicated).count()
    }

    fn has_room(&self, priority: Priority) -> bool {
        self.running.len() < self.cap
            && (priority == Priority::Dedicated || self.commons() < self.common)
    }

    /// When the first waiter of a flow came.
    fn since(&self, key: (Priority, usize)) -> Option<u64> {
        let first = self.list.iter().find(|one| (one.priority, one.account) == key);
        first.map(|one| one.since)
    }

    /// The level of a flow now.
    fn level(&self, key: (Priority, usize)) -> Option<u64> {
        let since = self.since(key)?;
        Some((key.0 as u64).saturating_sub((self.now - since) / QUARTER))
    }

    /// Moves up, one level at a time, whoever was due first.
    fn age(&mut self) {
        loop {
            let due = |(key, stand): &((Priority, usize), Stand)| {
                let climbed = key.0 as u64 - stand.level;
                let number = self.list.iter().position(|one| (one.priority, one.account) == *key);
                (self.since(*key).unwrap() + QUARTER * (climbed + 1), number)
            };
            let may = self.stands.iter().filter(|(_, stand)| stand.level > 0);
            let first = may.min_by_key(|flow| due(flow)).filter(|flow| due(flow).0 <= self.now);
            let Some((key, stand)) = first.copied() else { return };
            self.stand_last(key, Some(stand.level - 1));
        }
    }

    /// Puts a flow at the end of a level; nowhere, if nobody waits in it.
    fn stand_last(&mut self, key: (Priority, usize), level: Option<u64>) {
        self.stands.retain(|(of, _)| *of != key);
        if let Some(level) = level {
            self.stands.push((key, Stand { level, turn: self.turns }));
            self.turns += 1;
        }
    }

    /// Somebody leaves the list from the middle: the flow keeps its turn, unless
    /// its next waiter belongs elsewhere.
    fn leave(&mut self, at: usize) -> Waiting {
        let one = self.list.remove(at);
        let key = (one.priority, one.account);
        let level = self.level(key);
        if self.stands.iter().any(|(of, stand)| *of == key && Some(stand.level) != level) {
            self.stand_last(key, level);
        }
        one.place
    }

    /// Who is next, of those that may have a free slot.
    fn next(&self) -> Option<(Priority, usize)> {
        let open = self.stands.iter().filter(|((priority, _), _)| self.has_room(*priority));
        let first = open.min_by_key(|(_, stand)| (stand.level, stand.turn));
        first.map(|(key, _)| *key)
    }

    /// Grants what the rules grant, and expects the queue to have done the same.
    fn grant(&mut self) {
        self.age();
        while let Some(key) = self.next() {
            let at = self.list.iter().position(|one| (one.priority, one.account) == key).unwrap();
            let mut one = self.list.remove(at);
            assert!(is_granted(&mut one.place), "{key:?} should have its slot");
            self.running.push((one.priority, Err(one.place)));
            self.stand_last(key, self.level(key));
        }
        for one in &mut self.list {
            assert_eq!(told(&mut one.place), None, "somebody overtook");
        }
    }

    fn size(&self, key: (Priority, usize)) -> usize {
        self.list.iter().filter(|one| (one.priority, one.account) == key).count()
    }

    /// Whose newest waiter makes room for a newcomer, if it is entitled.
    fn makes_room(&self, newcomer: (Priority, usize)) -> Option<(Priority, usize)> {
        let lowest = self.list.iter().map(|one| one.priority).max()?;
        let whose = self.list.iter().filter(|one| one.priority == lowest);
        let most = whose
            .map(|one| one.account)
            .max_by_key(|account| (self.size((lowest, *account)), &NAMES[*account]))?;
        let fewer = self.size(newcomer) + 1 < self.size((lowest, most));
        let entitled = newcomer.0 < lowest || (newcomer.0 == lowest && fewer);
        entitled.then_some((lowest, most))
    }

    fn ask(&mut self, slots: &Arc<CallSlots>, account: usize, priority: Priority) {
        self.age();
        let asked = slots.ask(who(account, priority));
        if self.has_room(priority) {
            let Ok(Asked::Slot(slot)) = asked else { panic!("no slot but {asked:?}") };
            self.running.push((priority, Ok(slot)));
            return;
        }
        if self.list.len() >= self.room {
            let Some(key) = self.makes_room((priority, account)) else {
                assert_eq!(asked.err(), Some(NoSlot::QueueFull));
                return;
            };
            let at = self.list.iter().rposition(|one| (one.priority, one.account) == key).unwrap();
            assert_eq!(told(&mut self.leave(at)), Some(Told::Displaced));
        }
        let Ok(Asked::Wait(place)) = asked else { panic!("no place but {asked:?}") };
        let key = (priority, account);
        let new = self.size(key) == 0;
        self.list.push(Listed { account, priority, since: self.now, place });
        if new {
            self.stand_last(key, Some(priority as u64));
        }
    }

    fn end(&mut self, which: usize) {
        self.age();
        match which.checked_sub(self.running.len()) {
            None => drop(self.running.remove(which)),
            Some(which) => drop(self.leave(which)),
        }
    }
}

proptest! {
    /// Covers F3: whatever happens, in whichever order, slots are used up to what
    /// the caps allow, and in the order of the rules.
    #[test]
    fn the_queue_behaves_as_a_list(steps in steps()) {
        let clock = Arc::new(TestClock::at(Timestamp(0)));
        let timeout = Duration::from_secs(4 * QUARTER);
        let limits = |concurrent, reserved, queue| GlobalLimits {
            reserved, queue_timeout: timeout, ..limits(concurrent, queue)
        };
        let slots = CallSlots::new(&limits(2, 0, 3), clock.clone());
        let mut model = Model {
            cap: 2, common: 2, reserved: 0, room: 3, reserving: false, now: 0, turns: 0,
            list: Vec::new(), stands: Vec::new(), running: Vec::new(),
        };
        for step in steps {
            match step {
                Step::Ask(account, priority) => model.ask(&slots, account, priority),
                Step::Drop(which) => {
                    let all = model.running.len() + model.list.len();
                    if all > 0 {
                        model.end(which % all);
                    }
                }
                Step::Pass(seconds) => {
                    clock.advance(Duration::from_secs(seconds));
                    model.now += seconds;
                    // The queue looks at the time when something happens.
                    slots.reserve(model.reserving);
                }
                Step::Limits(cap, reserved, room) => {
                    (model.cap, model.reserved, model.room) =
                        (cap as usize, reserved as usize, room as usize);
                    slots.set_limits(&limits(cap, reserved, room));
                }
                Step::Reserve(reserving) => {
                    model.reserving = reserving;
                    slots.reserve(reserving);
                }
            }
            model.update_caps();
            model.grant();
            prop_assert_eq!(slots.in_use() as usize, model.running.len());
            prop_assert_eq!(slots.waiting() as usize, model.list.len());
        }
        drop(model);
        prop_assert_eq!((slots.in_use(), slots.waiting()), (0, 0));
    }
}
