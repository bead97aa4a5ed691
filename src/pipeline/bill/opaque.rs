//! The bill of a request that is not understood: no model, no tokens, a price
//! of its own.

use std::sync::Arc;

use crate::admission::queue::Priority;
use crate::app::App;
use crate::auth::keyring::Identity;
use crate::base::money::Money;
use crate::config::{Class, Provider};
use crate::exchange::Exchange;
use crate::intake::endpoint::Endpoint;
use crate::ledger::record::{Outcome, Tokens, UsageRecord};
use crate::meter::quote::Quote;
use crate::pipeline::bill::Bill;
use crate::route::catalog::Route;

/// What an opaque request orders.
pub(in crate::pipeline) struct OpaqueOrder<'o> {
    /// Who pays.
    pub(in crate::pipeline) caller: &'o Identity,
    /// The class.
    pub(in crate::pipeline) class: &'o Class,
    /// The root that the path is under.
    pub(in crate::pipeline) path: &'o str,
    /// Where it goes.
    pub(in crate::pipeline) provider: &'o Arc<Provider>,
    /// Its price.
    pub(in crate::pipeline) quote: &'o Quote,
}

impl<'a> Bill<'a> {
    /// The bill of an opaque request.
    pub(in crate::pipeline) fn opaque(
        app: &'a App,
        exchange: &Exchange,
        order: &OpaqueOrder<'_>,
    ) -> Self {
        let empty = Arc::<str>::default();
        let record = UsageRecord {
            id: exchange.id,
            time: exchange.received,
            request_id: exchange.request_id.clone(),
            account: order.caller.account.clone(),
            key_id: order.caller.key_id.clone(),
            plan: order.caller.plan.name.clone(),
            service: app.names.service.clone(),
            endpoint: order.class.name.clone(),
            path: Arc::from(order.path),
            model_asked: empty.clone(),
            model_used: empty.clone(),
            provider: order.provider.name.clone(),
            tier: empty,
            status: 0,
            outcome: Outcome::InternalError,
            cache: app.names.cache(exchange.cache),
            similarity: None,
            stream: false,
            attempts: 0,
            quantity: 0,
            unit_price: Money::ZERO,
            list_price: order.quote.list_price(&Tokens::default(), None, 1),
            price: Money::ZERO,
            cost: Money::ZERO,
            // There is no model that could have a price, and still the provider charges.
            unpriced: true,
            tokens: Tokens::default(),
            estimated: false,
            bytes_in: 0,
            bytes_out: 0,
            duration_ms: 0,
            first_byte_ms: None,
            text_hash: None,
            cache_key: None,
            complexity: None,
            metadata: None,
            rates: None,
            prepaid: false,
            saved: None,
            session: None,
            void: false,
        };
        Self {
            app,
            record,
            owner: order.caller.owner.clone(),
            route: Route::opaque(order.provider.clone()),
            // Of no consequence: an opaque request is never estimated.
            endpoint: Endpoint::Embeddings,
            priority: Priority::of(&order.caller.plan),
            quote: order.quote.clone(),
            prices: None,
            started: exchange.started,
            waited: exchange.waited,
            assumed: Tokens::default(),
            cache: exchange.cache,
            recalled: false,
            borne: None,
            made: Arc::default(),
            settled: false,
            part: None,
            warnings: None,
            occupied: None,
            token_standing: None,
        }
    }

    /// Counts body bytes that came from the client.
    pub(in crate::pipeline) fn received(&mut self, bytes: u64) {
        self.record.bytes_in += bytes;
    }

    /// Notes that the answer is a stream of events.
    pub(in crate::pipeline) fn streams(&mut self) {
        self.record.stream = true;
    }
}
