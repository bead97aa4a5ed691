//! The models that customers may name, and the target that each one runs on.

use std::sync::Arc;

use ahash::AHashMap;

use crate::config::{Config, Model, Provider, Target, Tier, TokenPrices};
use crate::refusal::{Code, Refusal};

/// The entry that takes every name that no other entry has.
const ANY: &str = "*";

/// A checked configuration's models, indexed.
#[derive(Debug)]
pub struct Catalog {
    by_name: AHashMap<Arc<str>, Arc<Model>>,
    any: Option<Arc<Model>>,
    names: Vec<Arc<str>>,
    /// The sandbox, while no other provider is on: it answers any model.
    sandbox: Option<Arc<Provider>>,
}

/// Where one request runs, and why.
#[derive(Clone, Debug)]
pub struct Route {
    /// The model's public name; what the client asked for under `*`.
    pub model: Arc<str>,
    /// Its tier.
    pub tier: Tier,
    /// The provider.
    pub provider: Arc<Provider>,
    /// The provider's own name of the model, where it differs.
    pub upstream_model: Option<Arc<str>>,
    /// What the provider charges; `None` is unpriced.
    pub prices: Option<TokenPrices>,
    /// Whether the model is named in the catalogue, so that it may be a label.
    pub listed: bool,
    /// Why this target: `exact`, `any` or `sandbox`.
    pub reason: &'static str,
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
        }
    }

    /// The route of a request for `asked`; for the `*` entry if it names none.
    ///
    /// # Errors
    /// 404 `model_not_found` if no entry has the name, `*` included, or all the
    /// entry's targets are off.
    pub fn choose(&self, asked: Option<&str>) -> Result<Route, Refusal> {
        let exact = asked.and_then(|name| self.by_name.get(name));
        let entry = exact.or(self.any.as_ref());
        let model = match (exact, asked) {
            (Some(model), _) => model.name.clone(),
            (None, Some(name)) => Arc::from(name),
            (None, None) => Arc::from(""),
        };
        let tier = entry.map_or(Tier::Expert, |model| model.tier);
        let prices = entry.and_then(|model| model.cost);
        let listed = exact.is_some();
        if let Some(target) = entry.and_then(|model| first_usable(model)) {
            return Ok(Route {
                model,
                tier,
                provider: target.provider.clone(),
                upstream_model: target.model.clone(),
                prices,
                listed,
                reason: if listed { "exact" } else { "any" },
            });
        }
        let provider = self.sandbox.clone().ok_or_else(|| not_found(asked))?;
        Ok(Route { model, tier, provider, upstream_model: None, prices, listed, reason: "sandbox" })
    }

    /// The public names that can be used now, in the order of the file.
    pub fn usable(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter().filter(|name| self.has(name))
    }

    /// Whether `name` is listed and can be used now.
    pub fn has(&self, name: &str) -> bool {
        self.by_name
            .get(name)
            .is_some_and(|model| self.sandbox.is_some() || first_usable(model).is_some())
    }
}

fn first_usable(model: &Model) -> Option<&Target> {
    model.targets.iter().find(|target| target.provider.off.is_none())
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
