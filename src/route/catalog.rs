//! The models that customers may name, and the target that each one runs on.

use std::sync::Arc;

use ahash::AHashMap;

use crate::base::money::Money;
use crate::config::{
    Config, Model, Plan, Pool, Prefer, PriceTable, Provider, Target, Tier, TokenPrices,
};
use crate::refusal::{Code, Refusal};
use crate::route::choice;

/// The entry that takes every name that no other entry has.
const ANY: &str = "*";
/// Why a request runs on another model than it asked for.
const LOSS_GUARD: &str = "loss_guard";
/// Why a request runs on a model that its account has another name for.
const ALIAS: &str = "alias";

/// A checked configuration's models, indexed.
#[derive(Debug)]
pub struct Catalog {
    by_name: AHashMap<Arc<str>, Arc<Model>>,
    any: Option<Arc<Model>>,
    names: Vec<Arc<str>>,
    /// The sandbox, while no other provider is on: it answers any model.
    sandbox: Option<Arc<Provider>>,
    /// What models cost whose entry does not say.
    prices: Arc<PriceTable>,
}

/// Where one request runs, and why.
#[derive(Clone, Debug)]
pub struct Route {
    /// The model's public name; what the client asked for under `*`.
    pub model: Arc<str>,
    /// Its tier.
    pub tier: Tier,
    /// Where it may run, by preference; never empty.
    pub targets: Targets,
    /// What the model's entry says that it costs.
    own_cost: Option<TokenPrices>,
    /// What other models cost.
    table: Arc<PriceTable>,
    /// Whether the model is named in the catalogue, so that it may be a label.
    pub listed: bool,
    /// Why this model: `exact`, `any`, `sandbox`, `opaque`, `own`, or `alias` or
    /// `loss_guard` if the model is not the one that was asked for.
    pub reason: &'static str,
    /// Why the target that answers, where it is not simply the first: `weight`,
    /// `latency`, `cost`, `health` or `failover`; empty otherwise.
    pub choice: &'static str,
    /// Which provider of the account's own it is, where it is one.
    pub own: Option<Arc<str>>,
}

/// The usable targets of a route.
#[derive(Clone, Debug)]
pub enum Targets {
    /// Those of a model's entry that are on and open to the caller; at least
    /// one is.
    Listed {
        /// The entry.
        model: Arc<Model>,
        /// Whether the dedicated pool is open to the caller.
        dedicated: bool,
    },
    /// One that stands in no list: the sandbox, or an account's own.
    Single(Target),
}

impl Route {
    /// The target at `place`, from 0, in the order of the file.
    pub fn target(&self, place: usize) -> Option<&Target> {
        match &self.targets {
            Targets::Listed { model, dedicated } => usable(model, *dedicated).nth(place),
            Targets::Single(target) => Some(target).filter(|_| place == 0),
        }
    }

    /// How its target is chosen; `otherwise` where its model does not say.
    pub fn prefer(&self, otherwise: Prefer) -> Prefer {
        match &self.targets {
            Targets::Listed { model, .. } => model.prefer.unwrap_or(otherwise),
            Targets::Single(_) => otherwise,
        }
    }

    /// The group of each target (see [`choice::groups`]).
    pub fn groups(&self, prefer: Prefer) -> Vec<usize> {
        match &self.targets {
            Targets::Listed { model, dedicated } => {
                choice::groups(usable(model, *dedicated), prefer).collect()
            }
            Targets::Single(_) => vec![0],
        }
    }

    /// The model's name at `target`.
    pub fn model_at<'a>(&'a self, target: &'a Target) -> &'a str {
        target.model.as_deref().unwrap_or(&self.model)
    }

    /// The value of `x-tollgate-route` for an answer of `provider`:
    /// `tier;model;provider;reason`, where the reason is why this model and, behind
    /// a `+`, why this target.
    pub fn describe(&self, provider: &str) -> String {
        let Self { tier, model, reason, choice, .. } = self;
        let plus = if choice.is_empty() { "" } else { "+" };
        format!("{};{model};{provider};{reason}{plus}{choice}", tier.as_str())
    }

    /// What the provider of `target` charges; `None` is unpriced.
    pub fn cost(&self, target: &Target) -> Option<TokenPrices> {
        let name = target.model.as_ref().unwrap_or(&self.model);
        self.own_cost.or_else(|| self.table.find(&target.provider.name, name).copied())
    }

    /// What the provider of each target charges.
    pub fn costs(&self) -> impl Iterator<Item = Option<TokenPrices>> {
        (0..self.width()).filter_map(|number| self.target(number)).map(|it| self.cost(it))
    }

    /// The name of the model at `target`; `None` if that which the request gives
    /// may stay.
    pub fn name_at<'a>(&'a self, target: &'a Target) -> Option<&'a str> {
        let other = matches!(self.reason, LOSS_GUARD | ALIAS).then_some(&*self.model);
        target.model.as_deref().or(other)
    }

    /// The route to `provider` of a request that names no model.
    pub fn opaque(provider: Arc<Provider>) -> Self {
        Self {
            model: Arc::default(),
            tier: Tier::Expert,
            targets: Targets::Single(Target {
                provider,
                model: None,
                weight: None,
                thinking: None,
            }),
            own_cost: None,
            table: Arc::default(),
            listed: false,
            reason: "opaque",
            choice: "",
            own: None,
        }
    }

    /// The route to a provider of the account's own, called `id`, for its model
    /// `name`. It costs the seller nothing: the account's key pays.
    pub fn own(name: &str, target: Target, id: Arc<str>) -> Self {
        let free = TokenPrices {
            input: Money::ZERO,
            cached_input: Money::ZERO,
            cache_write: Money::ZERO,
            output: Money::ZERO,
        };
        Self {
            model: Arc::from(name),
            tier: Tier::Expert,
            targets: Targets::Single(target),
            own_cost: Some(free),
            table: Arc::default(),
            listed: false,
            reason: "own",
            choice: "",
            own: Some(id),
        }
    }

    /// The same, for a request that asked for it by a name of its account's own.
    #[must_use]
    pub fn aliased(self) -> Self {
        Self { reason: ALIAS, ..self }
    }

    /// How many targets there are.
    pub fn width(&self) -> usize {
        match &self.targets {
            Targets::Listed { model, dedicated } => usable(model, *dedicated).count(),
            Targets::Single(_) => 1,
        }
    }
}

impl Catalog {
    /// Indexes the models of `config`.
    pub fn new(config: &Config) -> Self {
        let listed = || config.models.iter().filter(|model| &*model.name != ANY);
        Self {
            by_name: listed().map(|model| (model.name.clone(), model.clone())).collect(),
            any: config.models.iter().find(|model| &*model.name == ANY).cloned(),
            names: listed().map(|model| model.name.clone()).collect(),
            sandbox: config.sandbox().cloned(),
            prices: config.prices.clone(),
        }
    }

    /// The route of a request under `plan` for `asked`; for the `*` entry if it
    /// names none. Targets of the dedicated pool come first for the plans that it
    /// is for, and are not there for others.
    ///
    /// # Errors
    /// 404 `model_not_found` if no entry has the name, `*` included, or all the
    /// entry's targets are off or not for the plan.
    pub fn choose(&self, asked: Option<&str>, plan: &Plan) -> Result<Route, Refusal> {
        let dedicated = plan.is_dedicated();
        let exact = asked.and_then(|name| self.by_name.get(name));
        let entry = exact.or(self.any.as_ref());
        let model = match (exact, asked) {
            (Some(model), _) => model.name.clone(),
            (None, Some(name)) => Arc::from(name),
            (None, None) => Arc::from(""),
        };
        let tier = entry.map_or(Tier::Expert, |model| model.tier);
        let own_cost = entry.and_then(|model| model.cost);
        let listed = exact.is_some();
        let open = |model: &&Arc<Model>| usable(model, dedicated).next().is_some();
        let (targets, reason) = match entry.filter(open) {
            Some(model) => {
                let targets = Targets::Listed { model: model.clone(), dedicated };
                (targets, if listed { "exact" } else { "any" })
            }
            None => {
                let provider = self.sandbox.clone().ok_or_else(|| not_found(asked))?;
                (
                    Targets::Single(Target { provider, model: None, weight: None, thinking: None }),
                    "sandbox",
                )
            }
        };
        let table = self.prices.clone();
        Ok(Route { model, tier, targets, own_cost, table, listed, reason, choice: "", own: None })
    }

    /// The routes to the listed models of a lower tier than `tier` that can be
    /// used under `plan`, for a request that asked for another.
    pub fn below<'s>(&'s self, tier: Tier, plan: &'s Plan) -> impl Iterator<Item = Route> {
        let lower = self.usable(plan).filter(move |(_, of)| *of < tier);
        let route = |(name, _): (&Arc<str>, Tier)| self.choose(Some(name), plan).ok();
        lower.filter_map(route).map(|route| Route { reason: LOSS_GUARD, ..route })
    }

    /// The public names that can be used now under `plan` with their tiers, in
    /// the order of the file.
    pub fn usable<'s>(&'s self, plan: &'s Plan) -> impl Iterator<Item = (&'s Arc<str>, Tier)> {
        let named = |name| self.by_name.get(name).map(|model| (name, model.tier));
        self.names.iter().filter(|name| self.has(name, plan)).filter_map(named)
    }

    /// Whether `name` is listed and can be used now under `plan`.
    pub fn has(&self, name: &str, plan: &Plan) -> bool {
        self.by_name.get(name).is_some_and(|model| {
            self.sandbox.is_some() || usable(model, plan.is_dedicated()).next().is_some()
        })
    }
}

/// The targets that are on; the dedicated pool first, where it is open.
fn usable(model: &Model, dedicated: bool) -> impl Iterator<Item = &Target> + Clone {
    let of = |pool| {
        let on =
            move |target: &&Target| target.provider.off.is_none() && target.provider.pool == pool;
        model.targets.iter().filter(on)
    };
    of(Pool::Dedicated).filter(move |_| dedicated).chain(of(Pool::Shared))
}

fn not_found(asked: Option<&str>) -> Refusal {
    let message = match asked {
        Some(_) => {
            "The model does not exist or is not available here. GET /v1/models lists those that are."
        }
        None => "The request names no model, and there is no default one.",
    };
    Refusal::new(Code::ModelNotFound, message).param("model")
}
