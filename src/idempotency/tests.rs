use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::store::Store;
use crate::store::idempotency::EmbeddedAnswers;

const HOUR: u64 = 3_600_000_000;

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn key(number: u8) -> IdempotencyKey {
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, HeaderValue::from_str(&format!("key-{number}")).unwrap());
    IdempotencyKey::read(&headers).unwrap().unwrap()
}

fn answer(text: &str) -> Answer {
    Answer {
        status: StatusCode::OK,
        provider: "p".into(),
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// A table over answers that outlive it.
struct Bench {
    home: TempDir,
    answers: Arc<EmbeddedAnswers>,
    table: Arc<Idempotency>,
    next: u128,
}

impl Bench {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let store = Store::open(home.path()).unwrap();
        let answers = Arc::new(EmbeddedAnswers::open(&store).unwrap());
        let table = Self::over(&answers, home.path());
        Self { home, answers, table, next: 0 }
    }

    /// A table over `answers`, sealed by the keys in `vault`.
    fn over(answers: &Arc<EmbeddedAnswers>, vault: &Path) -> Arc<Idempotency> {
        let vault = Arc::new(Vault::load(vault, None, &[]).unwrap());
        Idempotency::new([1; 32], answers.clone(), vault)
    }

    fn claim(&mut self, account: &str, number: u8, body: u8, now: u64) -> Claim {
        self.claim_in("c", account, number, body, now)
    }

    fn claim_in(&mut self, class: &str, account: &str, number: u8, body: u8, now: u64) -> Claim {
        self.next += 1;
        let asked = Asked {
            account,
            path: "/p",
            class,
            key: &key(number),
            body: [body; 32],
            id: RecordId(uuid::Uuid::from_u128(self.next)),
        };
        self.table.claim(&asked, Timestamp(now)).unwrap()
    }

    fn first(&mut self, account: &str, number: u8, body: u8, now: u64) -> Lead {
        match self.claim(account, number, body, now) {
            Claim::First(lead) => lead,
            _ => panic!("not the first"),
        }
    }
}

fn said(claim: &Claim) -> String {
    match claim {
        Claim::First(_) => "first".to_owned(),
        Claim::Running(_) => "running".to_owned(),
        Claim::Again(answer, made) => format!("{} of {}", answer_text(answer), made.0),
        Claim::Conflict => "conflict".to_owned(),
    }
}

fn answer_text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[test]
fn a_key_is_one_of_its_account_and_class() {
    let mut bench = Bench::new();
    let _lead = bench.first("ann", 1, 1, 0);
    assert_eq!(said(&bench.claim("ann", 1, 1, 0)), "running");
    assert_eq!(said(&bench.claim("ann", 1, 2, 0)), "conflict");
    for (class, account, number) in [("c", "bob", 1), ("d", "ann", 1), ("c", "ann", 2)] {
        assert_eq!(said(&bench.claim_in(class, account, number, 2, 0)), "first");
    }
}

#[test]
fn those_who_wait_hear_of_the_end_and_each_run_has_a_call_of_its_own() {
    let mut bench = Bench::new();
    let lead = bench.first("ann", 1, 1, 0);
    let Claim::Running(run) = bench.claim("ann", 1, 1, 0) else { panic!("it runs") };
    let progress = run.progress();
    assert_eq!((*progress.borrow(), run.call()), (Progress::Begun, lead.run().call()));
    lead.is_called();
    assert_eq!(*progress.borrow(), Progress::Called);
    drop(lead);
    assert_eq!(*progress.borrow(), Progress::Over);
    assert_ne!(bench.first("ann", 1, 2, 0).run().call(), run.call());
}

#[test]
fn an_answer_is_kept_once_whoever_brings_it_first() {
    let mut bench = Bench::new();
    let lead = bench.first("ann", 1, 1, 0);
    let Claim::Running(run) = bench.claim("ann", 1, 1, 0) else { panic!("it runs") };
    let keep = async |text: &str| bench.table.keep(&run, answer(text), Timestamp(5)).await;
    runtime().block_on(async {
        let (one, two) = tokio::join!(keep("one"), keep("two"));
        assert_eq!((one, two), (Some(KeptAnswer::Kept { made_room: 0 }), None));
    });
    assert_eq!(said(&bench.claim("ann", 1, 1, 6)), "one of 5");
    drop(lead);
    assert_eq!(said(&bench.claim("ann", 1, 1, 6)), "one of 5");
}

#[test]
fn what_is_too_large_or_cannot_be_opened_leaves_the_key_free() {
    let mut bench = Bench::new();
    let lead = bench.first("ann", 1, 1, 0);
    let large = Answer { body: Bytes::from(vec![0; LARGEST + 1]), ..answer("") };
    let kept = runtime().block_on(bench.table.keep(lead.run(), large, Timestamp(0)));
    assert_eq!(kept, Some(KeptAnswer::TooLarge));
    // Whatever is asked then: what was asked before is forgotten with the answer.
    for asked in [1, 2] {
        let lead = bench.first("ann", 1, 2, 0);
        runtime().block_on(bench.table.keep(lead.run(), answer("x"), Timestamp(0)));
        bench.table.vault.forget(Owner::Account("ann")).unwrap();
        assert_eq!(said(&bench.claim("ann", 1, asked, 0)), "first");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Claim { account: bool, key: u8, body: u8 },
    Keep(usize),
    Fail(usize),
    Pass(u64),
    Sweep,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), 0..2_u8, 0..2_u8)
            .prop_map(|(account, key, body)| Step::Claim { account, key, body }),
        3 => (0..8_usize).prop_map(Step::Keep),
        2 => (0..8_usize).prop_map(Step::Fail),
        2 => (1..30_u64).prop_map(|hours| Step::Pass(hours * HOUR / 2)),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ]
}

enum Model {
    Runs { body: u8 },
    Kept { body: u8, text: String, made: u64 },
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn keys_behave_as_a_naive_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = runtime();
        let mut bench = Bench::new();
        let mut model: HashMap<(bool, u8), Model> = HashMap::new();
        let mut leads: Vec<((bool, u8), Lead)> = Vec::new();
        let mut now = 1_000 * HOUR;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Claim { account, key, body } => {
                    let at = (account, key);
                    let name = if account { "ann" } else { "bob" };
                    let old = |made: u64| now >= made + 24 * HOUR;
                    if matches!(model.get(&at), Some(Model::Kept { made, .. }) if old(*made)) {
                        model.remove(&at);
                    }
                    let expected = match model.get(&at) {
                        None => "first".to_owned(),
                        Some(Model::Runs { body: other } | Model::Kept { body: other, .. })
                            if *other != body => "conflict".to_owned(),
                        Some(Model::Runs { .. }) => "running".to_owned(),
                        Some(Model::Kept { text, made, .. }) => format!("{text} of {made}"),
                    };
                    let claim = bench.claim(name, key, body, now);
                    prop_assert_eq!(said(&claim), expected);
                    if let Claim::First(lead) = claim {
                        model.insert(at, Model::Runs { body });
                        leads.push((at, lead));
                    }
                }
                Step::Keep(which) if !leads.is_empty() => {
                    let (at, lead) = leads.swap_remove(which % leads.len());
                    let text = format!("answer {number}");
                    runtime.block_on(bench.table.keep(lead.run(), answer(&text), Timestamp(now)));
                    let Some(Model::Runs { body }) = model.get(&at) else { panic!("it ran") };
                    model.insert(at, Model::Kept { body: *body, text, made: now });
                }
                Step::Fail(which) if !leads.is_empty() => {
                    let (at, _lead) = leads.swap_remove(which % leads.len());
                    model.remove(&at);
                }
                Step::Keep(_) | Step::Fail(_) => {}
                Step::Pass(span) => now += span,
                Step::Sweep => {
                    model.retain(|_, state| {
                        !matches!(state, Model::Kept { made, .. } if now >= *made + 24 * HOUR)
                    });
                    let kept = model.values().filter(|state| matches!(state, Model::Kept { .. }));
                    prop_assert_eq!(bench.table.sweep(Timestamp(now)).unwrap(), kept.count());
                }
                Step::Restart => {
                    leads.clear();
                    model.retain(|_, state| matches!(state, Model::Kept { .. }));
                    bench.table = Bench::over(&bench.answers, bench.home.path());
                }
            }
        }
    }
}
