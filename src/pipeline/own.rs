//! The route of a request: an account's own models go before the seller's.

use crate::app::own::OwnModel;
use crate::app::{App, Snapshot};
use crate::auth::keyring::Identity;
use crate::class;
use crate::config::{CUSTOM_MODELS, Class, Ownership, Tier};
use crate::opaque::Tenant;
use crate::refusal::{Code, Refusal};
use crate::route::catalog::Route;

/// Where a request that names the model `asked` runs.
///
/// # Errors
/// 403 `feature_not_in_plan` for a model of the caller's own that its plan does not
/// let it have; 403 `model_not_in_plan` and 404 `model_not_found` for others.
pub(super) fn route(
    app: &App,
    snapshot: &Snapshot,
    caller: &Identity,
    class: &Class,
    asked: Option<&str>,
) -> Result<Route, Refusal> {
    let own = asked.and_then(|name| Some((name, app.own.find(&caller.account, name)?)));
    let Some((name, own)) = own else {
        return sellers(app, snapshot, caller, class, asked);
    };
    if !caller.plan.has_feature(CUSTOM_MODELS) {
        let message = format!(
            "The model is the account's own, which needs the feature '{CUSTOM_MODELS}'; the plan '{}' \
             does not have it.",
            caller.plan.name
        );
        return Err(Refusal::new(Code::FeatureNotInPlan, message).param("model"));
    }
    match own {
        OwnModel::Alias(public) => {
            Ok(sellers(app, snapshot, caller, class, Some(&public))?.aliased())
        }
        OwnModel::There { target, id } => {
            // The account pays for it, so no tier of the plan's is asked for.
            class::check_model(class, &caller.plan, name, Tier::Simple)?;
            Ok(Route::own(name, target, id))
        }
    }
}

/// The same among the seller's models, and those that customers made at its providers.
fn sellers(
    app: &App,
    snapshot: &Snapshot,
    caller: &Identity,
    class: &Class,
    asked: Option<&str>,
) -> Result<Route, Refusal> {
    let route = snapshot.catalog.choose(asked, &caller.plan)?;
    if !route.listed && snapshot.config.opaque.ownership == Ownership::Enforce {
        Tenant::new(&*app.owners, &caller.owner).check_model(&route.model)?;
    }
    class::check_model(class, &caller.plan, &route.model, route.tier)?;
    Ok(route)
}
