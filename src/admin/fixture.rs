//! A small configuration and a record for tests.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::accounts::{Occasion, Parts, Registry};
use crate::app::own::OwnModels;
use crate::auth::key::KeyHasher;
use crate::auth::keyring::Keyring;
use crate::base::clock::{Clock, Timestamp};
use crate::base::currency::Currency;
use crate::base::factor::Factor;
use crate::base::id::RecordIds;
use crate::base::money::Money;
use crate::base::network::Networks;
use crate::base::secret::Secret;
use crate::billing::{self, Biller};
use crate::cache::Cache;
use crate::config::{
    BreakerRule, CacheRoom, Class, Config, Dialect, Durability, GlobalLimits, Invoicing, IpLimits,
    Limits, Listen, Log, LogFormat, LossGuard, Manner, MasterKeys, Opaque, Ownership, Plan, Pool,
    Prefer, Provider, Routing, Samples, Store, Tariff, UserLimits,
};
use crate::ledger::Ledger;
use crate::ledger::record::{Outcome, Tokens, UsageRecord};
use crate::route::health::Health;
use crate::store::accounts::Directory;
use crate::store::billing::Book;
use crate::store::custom::EmbeddedModels;
use crate::store::ownership::EmbeddedOwners;
use crate::telemetry::metrics::Metrics;
use crate::vault::Vault;
use crate::webhooks::Webhooks;

pub(crate) const TOKEN: &str = "an-admin-token";

pub(crate) fn provider(name: &str, off: Option<&str>) -> Arc<Provider> {
    Arc::new(Provider {
        name: name.into(),
        dialect: Dialect::OpenAi,
        base_url: None,
        api_key: Secret::new("provider-secret"),
        further_keys: Vec::new(),
        off: off.map(str::to_owned),
        n_max: 1,
        stream_usage: true,
        latency: Duration::ZERO,
        pool: Pool::Shared,
        manner: Manner::default(),
        probe: None,
    })
}

fn routing() -> Routing {
    let seconds = Duration::from_secs;
    Routing {
        prefer: Prefer::Order,
        retries: 2,
        retry_budget: "0.2".parse().unwrap(),
        breaker: BreakerRule {
            calls: 20,
            minimum: 10,
            failures: "0.5".parse().unwrap(),
            open: seconds(15),
            forget: seconds(60),
        },
        connect_timeout: seconds(5),
        timeout: seconds(60),
        first_byte_timeout: seconds(60),
        chunk_timeout: seconds(30),
        drop_unsupported: false,
        public_model_name: true,
    }
}

pub(crate) fn config(dir: &Path) -> Config {
    let seconds = Duration::from_secs;
    Config {
        source: "conf/tollgate.yaml".into(),
        listen: Listen {
            proxy: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 8081)),
            metrics: None,
            tls: None,
            trusted_proxies: Networks::default(),
            body_limit: 1 << 25,
            header_timeout: seconds(10),
            min_body_rate: 1024,
            body_grace: seconds(10),
            stall_timeout: seconds(15),
        },
        admin_token: Secret::new(TOKEN),
        store: Store { path: dir.to_owned(), durability: Durability::Process },
        providers: vec![provider("openai", None), provider("spare", Some("no api_key"))],
        models: Vec::new(),
        prices: Arc::default(),
        classes: Vec::new(),
        plans: vec![plan("free"), plan("pro")],
        limits: Limits {
            user: UserLimits { per_minute: 60, per_hour: 1000, per_day: 10_000, concurrent: 50 },
            ip: IpLimits {
                per_minute: 100,
                per_hour: 2000,
                concurrent: 100,
                connections: 256,
                failed_keys_per_minute: 60,
                exempt: Networks::default(),
            },
            global: GlobalLimits {
                connections: 10_000,
                requests: 2000,
                concurrent: 500,
                reserved: 50,
                queue: 1000,
                queue_timeout: seconds(10),
            },
        },
        opaque: Opaque {
            provider: None,
            ownership: Ownership::Enforce,
            allow_unknown: false,
            price: Money::ZERO,
            prices: ahash::AHashMap::new(),
            socket_idle: seconds(900),
            socket_message_limit: 1 << 24,
        },
        routing: routing(),
        custom_models: crate::config::CustomModels::default(),
        keys: Vec::new(),
        timezone: jiff::tz::TimeZone::UTC,
        webhooks: Vec::new(),
        invoicing: Invoicing { currency: Currency::USD, tax: None, seller: None },
        shutdown_grace: seconds(60),
        log: Log { format: LogFormat::Pretty, level: "info".to_owned() },
        hash_end_users: true,
        log_text_hash: true,
        cache: CacheRoom { memory: 1024 * 1024, disk: 0 },
        coalesce: true,
        master_keys: MasterKeys::default(),
        sample_window: None,
        batch_embeddings: true,
        not_in_force: Vec::new(),
        warnings: Vec::new(),
    }
}

/// An empty cache, its level shown in metrics of its own.
pub(crate) fn cache() -> Arc<Cache> {
    Arc::new(Cache::new([0; 32], 1024 * 1024, Metrics::new([]).unwrap().cache_level("memory")))
}

pub(crate) fn record(time: Timestamp, account: &str, class: &str) -> UsageRecord {
    let name = |text: &str| -> Arc<str> { text.into() };
    UsageRecord {
        id: RecordIds::default().next(time),
        time,
        request_id: name("r"),
        account: name(account),
        key_id: name("k"),
        plan: name("pro"),
        service: name("ai_api"),
        endpoint: name(class),
        path: name("/v1/chat/completions"),
        model_asked: name("m"),
        model_used: name("m"),
        provider: name("openai"),
        tier: name("simple"),
        status: 200,
        outcome: Outcome::Ok,
        cache: name("bypass"),
        similarity: None,
        stream: false,
        attempts: 1,
        quantity: 1,
        unit_price: "0.02".parse().unwrap(),
        list_price: "0.02".parse().unwrap(),
        price: "0.02".parse().unwrap(),
        cost: "0.005".parse().unwrap(),
        unpriced: false,
        tokens: Tokens { input: 7, cached_input: 0, output: 3, ..Tokens::default() },
        estimated: false,
        bytes_in: 10,
        bytes_out: 20,
        duration_ms: 30,
        first_byte_ms: Some(5),
        text_hash: None,
        cache_key: None,
        complexity: None,
        metadata: None,
        rates: None,
        prepaid: false,
        saved: None,
        session: None,
        void: false,
    }
}

/// The accounts and keys in the store of the data directory `dir`, under `config`,
/// and what bills them by `ledger` and tells `webhooks` of it.
pub(crate) fn registry(
    dir: &Path,
    ledger: &Arc<Ledger>,
    config: &Arc<Config>,
    clock: Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
    webhooks: &Arc<Webhooks>,
) -> (Arc<Registry>, Arc<Biller>) {
    let store = crate::store::Store::open(dir).unwrap();
    let directory = Arc::new(Directory::new(&store).unwrap());
    let book = Arc::new(Book::new(&store).unwrap());
    let biller = Biller::new(billing::Parts {
        ledger: ledger.clone(),
        accounts: directory.clone(),
        history: book.clone(),
        adjustments: book.clone(),
        invoices: book.clone(),
        rates: Arc::default(),
        webhooks: webhooks.clone(),
        clock: clock.clone(),
    });
    let hasher = KeyHasher::new([1; 32]);
    let vault = Arc::new(Vault::load(dir, None, &[]).unwrap());
    let in_force = OwnModels::new(&vault, metrics, &clock);
    let parts = Parts {
        accounts: directory.clone(),
        keys: directory,
        history: book,
        keyring: Arc::new(Keyring::new(hasher.clone())),
        hasher,
        clock,
        metrics: metrics.clone(),
        custom: Arc::new(EmbeddedModels::new(&store).unwrap()),
        in_force,
        vault,
        cache: cache(),
        things: Arc::new(EmbeddedOwners::open(&store).unwrap()),
    };
    let registry = Registry::new(config.clone(), parts);
    registry.apply(config.clone(), &config.keys, Occasion::Start).unwrap();
    (Arc::new(registry), Arc::new(biller))
}

/// Nobody who is told of events.
pub(crate) fn webhooks(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Arc<Webhooks> {
    let store = crate::store::Store::open(&config.store.path.join("events")).unwrap();
    Webhooks::of(&store, config, clock, metrics).unwrap()
}

/// A plan with nothing but a name.
pub(crate) fn plan(name: &str) -> Arc<Plan> {
    Arc::new(Plan { requests_per_month: None, classes: None, ..Plan::nothing(name) })
}

/// A class with nothing but a name.
pub(crate) fn class(name: &str) -> Arc<Class> {
    Arc::new(Class {
        name: name.into(),
        prefix: None,
        tariff: Tariff::fixed(Money::ZERO),
        feature: None,
        samples: Samples::Shared,
        coalesce: true,
        cache: None,
        models: None,
        max_input_tokens: None,
        max_output_tokens: None,
        loss_guard: LossGuard::Warn,
        margin_floor: Factor::ZERO,
        rewrite: crate::config::Rewrite::default(),
        template: None,
        headers: crate::config::HeaderRules::default(),
    })
}

/// A process whose configuration stands still; its file has an error.
pub(crate) struct Still(pub(crate) Arc<Config>);

impl super::Control for Still {
    fn config(&self) -> Arc<Config> {
        self.0.clone()
    }

    fn health(&self, name: &str) -> Option<Arc<Health>> {
        let on = self.0.providers.iter().find(|one| &*one.name == name && one.off.is_none());
        on.map(|_| Arc::new(Health::new(1)))
    }

    fn reload(&self) -> Result<(), crate::config::Errors> {
        Err(crate::config::Errors::whole(&self.0.source, "no such key".to_owned()))
    }
}
