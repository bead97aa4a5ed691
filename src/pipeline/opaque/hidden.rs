//! What a provider keeps of the seller's, which is no customer's to see when it is
//! fetched later: the instructions that a class has set or put in front.

use crate::config::{Class, Config};
use crate::opaque::Place;
use crate::pipeline::relay::Restore;
use crate::refusal::{Code, Refusal};

/// What is hidden in answers about `place`; `None` where nothing is. Which class made
/// a stored response is not known, so any class's own words hide those of all.
pub(super) fn of(config: &Config, place: &Place) -> Option<Restore> {
    let hides = |class: &Class| class.template.is_some() || changes(class, "instructions");
    let hidden = place.root.name == "responses" && config.classes.iter().any(|it| hides(it));
    hidden.then(Restore::without_instructions)
}

/// Refuses to list the messages of a stored chat where a class's own may be among
/// them.
///
/// # Errors
/// 404 `endpoint_not_enabled`.
pub(super) fn check(config: &Config, place: &Place, path: &str) -> Result<(), Refusal> {
    let hides = |class: &Class| class.template.is_some() || changes(class, "messages");
    let listed = place.root.name == "chat/completions" && path.ends_with("/messages");
    if listed && config.classes.iter().any(|it| hides(it)) {
        let message = "The messages of stored chats are not listed here.";
        return Err(Refusal::new(Code::EndpointNotEnabled, message));
    }
    Ok(())
}

/// Whether a rule of `class` is about `field`.
fn changes(class: &Class, field: &str) -> bool {
    class.rewrite.fields.iter().any(|(name, _)| &**name == field)
}
