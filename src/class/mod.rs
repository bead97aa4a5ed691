//! Request classes: which one a request belongs to, and whether the caller's
//! plan may use it and its model.

pub mod rewrite;
pub mod template;

use std::sync::Arc;

use http::HeaderMap;

use crate::base::headers::CLASS;
use crate::config::{Class, Plan, Tier};
use crate::refusal::{Code, Refusal};

/// The name of the class that takes what no other does.
pub const DEFAULT: &str = "default";
/// The feature that opens the models above the tier `simple`.
const ADVANCED: &str = "advanced_suggestions";

/// The class of a request: by path prefix, then by header, then by the body's
/// `metadata.class`, else the default one.
///
/// A `metadata.class` that names no class is the client's own business, since
/// `metadata` is the client's field; a header of ours that names none is a
/// mistake worth telling.
///
/// # Errors
/// 400 if `x-tollgate-class` names no class.
pub fn choose<'a>(
    classes: &'a [Arc<Class>],
    by_prefix: Option<&'a Arc<Class>>,
    headers: &HeaderMap,
    in_metadata: Option<&str>,
) -> Result<&'a Arc<Class>, Refusal> {
    let named = |name: &[u8]| classes.iter().find(|class| class.name.as_bytes() == name);
    if let Some(class) = by_prefix {
        return Ok(class);
    }
    if let Some(header) = headers.get(CLASS) {
        return named(header.as_bytes()).ok_or_else(|| {
            Refusal::new(Code::InvalidValue, "The header x-tollgate-class names no class.")
                .param("x-tollgate-class")
        });
    }
    in_metadata
        .and_then(|name| named(name.as_bytes()))
        .or_else(|| named(DEFAULT.as_bytes()))
        .ok_or_else(|| Refusal::new(Code::InternalError, "There is no default class."))
}

/// Checks that `plan` may use `class`: it is among the plan's classes, where
/// those are listed, and the plan has its feature.
///
/// # Errors
/// 403 `feature_not_in_plan`.
pub fn check_feature(class: &Class, plan: &Plan) -> Result<(), Refusal> {
    if plan.classes.as_ref().is_some_and(|classes| !classes.contains(&class.name)) {
        let (plan, class) = (&plan.name, &class.name);
        let message = format!("The plan '{plan}' does not have the class '{class}'.");
        return Err(Refusal::new(Code::FeatureNotInPlan, message));
    }
    match &class.feature {
        Some(feature) if !plan.has_feature(feature) => Err(Refusal::new(
            Code::FeatureNotInPlan,
            format!(
                "The class '{}' needs the feature '{feature}', which the plan '{}' does not have.",
                class.name, plan.name
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether `plan` has models of `tier`: those above simple need the feature
/// `advanced_suggestions`.
pub fn has_tier(plan: &Plan, tier: Tier) -> bool {
    tier == Tier::Simple || plan.has_feature(ADVANCED)
}

/// Checks that a request of `class` under `plan` may run on the model of this
/// public name and tier.
///
/// # Errors
/// 403 `model_not_in_plan`.
pub fn check_model(class: &Class, plan: &Plan, model: &str, tier: Tier) -> Result<(), Refusal> {
    let message = if !has_tier(plan, tier) {
        let (tier, plan) = (tier.as_str(), &plan.name);
        format!(
            "The model is of the tier '{tier}', which needs the feature '{ADVANCED}'; the plan \
             '{plan}' does not have it. GET /v1/models lists the models that it has."
        )
    } else if class.models.as_ref().is_some_and(|models| !models.iter().any(|of| **of == *model)) {
        format!("The class '{}' does not run on this model.", class.name)
    } else {
        return Ok(());
    };
    Err(Refusal::new(Code::ModelNotInPlan, message).param("model"))
}

#[cfg(test)]
mod tests;
