//! What a plan may use.

use super::*;
use crate::admin::fixture;

fn plan(features: &[&str], classes: Option<&[&str]>) -> Plan {
    let arcs = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    Plan { features: Some(arcs(features)), classes: classes.map(arcs), ..Plan::nothing("free") }
}

fn class(models: Option<&[&str]>) -> Class {
    let models = models.map(|names| names.iter().map(|name| Arc::from(*name)).collect());
    Class { models, ..Class::clone(&fixture::class("default")) }
}

/// Covers A2 and A5: a model above the plan is 403.
#[test]
fn models_above_simple_need_the_feature() {
    let (free, pro) = (plan(&["basic_suggestions"], None), plan(&["advanced_suggestions"], None));
    for tier in [Tier::Simple, Tier::Complex, Tier::Expert] {
        assert!(check_model(&class(None), &pro, "m", tier).is_ok());
        let refused = check_model(&class(None), &free, "m", tier).err();
        let code = refused.as_ref().map(|refusal| refusal.code);
        assert_eq!(code, (tier != Tier::Simple).then_some(Code::ModelNotInPlan), "{tier:?}");
        assert_eq!(has_tier(&free, tier), tier == Tier::Simple);
    }
}

/// Covers A5: a class may bound its models, and a plan its classes.
#[test]
fn lists_of_models_and_classes_bound() {
    let plan_of_all = plan(&[], None);
    let bound = class(Some(&["gpt-4o-mini"]));
    assert!(check_model(&bound, &plan_of_all, "gpt-4o-mini", Tier::Simple).is_ok());
    let refused = check_model(&bound, &plan_of_all, "another", Tier::Simple).unwrap_err();
    assert_eq!((refused.code, refused.param.as_deref()), (Code::ModelNotInPlan, Some("model")));
    assert!(check_feature(&bound, &plan_of_all).is_ok());
    assert!(check_feature(&bound, &plan(&[], Some(&["default"]))).is_ok());
    let refused = check_feature(&bound, &plan(&[], Some(&["chat"]))).unwrap_err();
    assert_eq!(refused.code, Code::FeatureNotInPlan);
}
