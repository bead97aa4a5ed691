//! Request classes: which one a request belongs to, and whether the caller's
//! plan may use it.

use std::sync::Arc;

use http::HeaderMap;

use crate::config::{Class, Plan};
use crate::refusal::{Code, Refusal};

/// The name of the class that takes what no other does.
pub const DEFAULT: &str = "default";

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
    if let Some(header) = headers.get("x-tollgate-class") {
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

/// Checks that `plan` has the feature of `class`.
///
/// # Errors
/// 403 `feature_not_in_plan`.
pub fn check_feature(class: &Class, plan: &Plan) -> Result<(), Refusal> {
    match &class.feature {
        Some(feature) if !plan.features.contains(feature) => Err(Refusal::new(
            Code::FeatureNotInPlan,
            format!(
                "The class '{}' needs the feature '{feature}', which the plan '{}' does not have.",
                class.name, plan.name
            ),
        )),
        _ => Ok(()),
    }
}
