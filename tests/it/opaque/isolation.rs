//! Whatever two accounts make, look at, list and delete under any root, neither
//! meets anything of the other's. Covers J1.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tollgate::opaque::mention::looks_like_id;

use super::{FORM, before, form, ids, shop};
use crate::harness::client::{Answer, Request};
use crate::harness::gateway::Gateway;
use crate::harness::provider::Provider;
use crate::harness::setup::key_of;

const TENANTS: [&str; 2] = ["a", "b"];

/// What one of the accounts does. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Act {
    Make { who: usize, collection: usize, within: usize },
    Look { who: usize, thing: usize },
    List { who: usize, thing: usize, limit: usize },
    Delete { who: usize, thing: usize },
    Name { who: usize, thing: usize, field: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let (who, thing) = (0..2_usize, 0..100_usize);
    let collection = 0..shop::COLLECTIONS.len();
    prop_oneof![
        5 => (who.clone(), collection, thing.clone())
            .prop_map(|(who, collection, within)| Act::Make { who, collection, within }),
        3 => (who.clone(), thing.clone()).prop_map(|(who, thing)| Act::Look { who, thing }),
        3 => (who.clone(), thing.clone(), 1..5_usize)
            .prop_map(|(who, thing, limit)| Act::List { who, thing, limit }),
        2 => (who.clone(), thing.clone()).prop_map(|(who, thing)| Act::Delete { who, thing }),
        2 => (who, thing, 0..4_usize)
            .prop_map(|(who, thing, field)| Act::Name { who, thing, field }),
    ]
}

/// A thing that somebody made.
#[derive(Clone, Debug)]
struct Thing {
    owner: usize,
    /// Its collection's path.
    collection: String,
    id: String,
}

impl Thing {
    fn path(&self) -> String {
        format!("/v1/{}/{}", self.collection, self.id)
    }

    fn stands_alone(&self) -> bool {
        shop::COLLECTIONS.iter().any(|(path, _)| *path == self.collection)
    }
}

struct World {
    provider: Provider,
    gate: Gateway,
    things: Vec<Thing>,
}

impl World {
    async fn send(&self, who: usize, request: Request) -> Answer {
        self.gate.send(&request.bearer(&key_of(TENANTS[who]))).await
    }

    /// Sends what is about another's: nobody hears of it.
    async fn refused(&self, who: usize, request: Request) {
        let calls = self.provider.calls().len();
        self.send(who, request).await.refused(404, "not_found");
        assert_eq!(self.provider.calls().len(), calls, "nothing of it reaches the provider");
    }

    async fn act(&mut self, act: Act) {
        let chosen = |number: usize| match self.things.len() {
            0 => None,
            count => self.things.get(number % count).cloned(),
        };
        match act {
            Act::Make { who, collection, within } => self.make(who, collection, within).await,
            Act::Look { who, thing } => {
                let Some(thing) = chosen(thing) else { return };
                let request = Request::get(&thing.path());
                if thing.owner == who {
                    assert_eq!(self.send(who, request).await.ok().json()["id"], thing.id);
                } else {
                    self.refused(who, request).await;
                }
            }
            Act::List { who, thing, limit } => {
                let Some(thing) = chosen(thing) else { return };
                self.list(who, &thing, limit).await;
            }
            Act::Delete { who, thing } => {
                let Some(thing) = chosen(thing) else { return };
                let request = Request::new("DELETE", &thing.path());
                if thing.owner == who {
                    assert_eq!(self.send(who, request).await.ok().json()["deleted"], true);
                    let again = Request::get(&thing.path());
                    if thing.stands_alone() {
                        self.refused(who, again).await;
                    } else {
                        // A part that is gone is nobody's, and within what is the account's
                        // own it is the provider that says so.
                        assert_eq!(self.send(who, again).await.status(), 404);
                    }
                    let within = format!("{}/{}/", thing.collection, thing.id);
                    self.things.retain(|it| {
                        it.id != thing.id && !format!("{}/", it.collection).starts_with(&within)
                    });
                } else {
                    self.refused(who, request).await;
                }
            }
            Act::Name { who, thing, field } => {
                let Some(thing) = chosen(thing) else { return };
                let field = ["input_file_id", "file_ids", "thread_id", "anything"][field];
                let named = match field {
                    "file_ids" => json!([thing.id]),
                    _ => json!(thing.id),
                };
                let body: Value = json!({"list": [{field: named}]});
                let request = Request::post("/v1/assistants", &body);
                if thing.owner != who {
                    self.refused(who, request).await;
                } else if thing.stands_alone() {
                    let made = self.send(who, request).await.ok().json();
                    self.note(who, "assistants".to_owned(), &made);
                }
            }
        }
    }

    async fn make(&mut self, who: usize, collection: usize, within: usize) {
        let (pattern, _) = shop::COLLECTIONS[collection];
        let Some((whole, rest)) = pattern.split_once("/{}") else {
            let request = match pattern {
                "files" => Request::with_body("POST", "/v1/files", FORM, form(b"x")),
                _ => Request::post(&format!("/v1/{pattern}"), &json!({})),
            };
            let made = self.send(who, request).await.ok().json();
            self.note(who, pattern.to_owned(), &made);
            return;
        };
        let fitting: Vec<&Thing> =
            self.things.iter().filter(|thing| thing.collection == whole).collect();
        if fitting.is_empty() {
            return;
        }
        let thing = fitting[within % fitting.len()].clone();
        let collection = format!("{whole}/{}{rest}", thing.id);
        let request = Request::post(&format!("/v1/{collection}"), &json!({}));
        if thing.owner == who {
            let made = self.send(who, request).await.ok().json();
            self.note(who, collection, &made);
        } else {
            self.refused(who, request).await;
        }
    }

    fn note(&mut self, owner: usize, collection: String, made: &Value) {
        let id = made["id"].as_str().unwrap().to_owned();
        self.things.push(Thing { owner, collection, id });
    }

    /// Lists the collection of `thing` page by page.
    async fn list(&self, who: usize, thing: &Thing, limit: usize) {
        let path = format!("/v1/{}", thing.collection);
        if !thing.stands_alone() && thing.owner != who {
            self.refused(who, Request::get(&path)).await;
            return;
        }
        let own: Vec<&str> = self
            .things
            .iter()
            .filter(|it| it.collection == thing.collection && it.owner == who)
            .map(|it| &*it.id)
            .collect();
        let mut seen: Vec<String> = Vec::new();
        loop {
            let after = seen.last().map(|id| format!("&after={id}")).unwrap_or_default();
            let request = Request::get(&format!("{path}?limit={limit}{after}"));
            let list = self.send(who, request).await.ok().json();
            seen.extend(ids(&list).into_iter().map(str::to_owned));
            if list["has_more"] == false {
                break;
            }
        }
        assert_eq!(seen, own, "{path}");
        if let Some(anothers) = self.things.iter().find(|it| it.owner != who) {
            self.refused(who, Request::get(&format!("{path}?after={}", anothers.id))).await;
        }
    }
}

/// What is not known by its looks could be named where no field says what it is.
#[test]
fn whatever_is_made_is_known_by_its_looks() {
    for (collection, prefix) in shop::COLLECTIONS {
        let id = format!("{prefix}000017");
        assert!(looks_like_id(id.as_bytes()), "{collection}: {id}");
    }
}

#[test]
fn two_accounts_never_meet() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let acts = proptest::collection::vec(act(), 1..60);
    let run = TestRunner::new(config).run(&acts, |acts| {
        runtime.block_on(async {
            let provider = shop::provider().await;
            let gate =
                before(&provider).plan("a", |plan| plan).plan("b", |plan| plan).start().await;
            let mut world = World { provider, gate, things: Vec::new() };
            for act in acts {
                world.act(act).await;
            }
            // In the end everything of everybody's is where it belongs.
            for thing in world.things.clone() {
                for who in 0..2 {
                    world.list(who, &thing, 3).await;
                }
            }
        });
        Ok(())
    });
    run.unwrap();
}
