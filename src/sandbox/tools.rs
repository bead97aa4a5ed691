//! Which tool the sandbox calls, if any.

use serde_json::Value;

use crate::sandbox::request::{Checked, Refused, Request};
use crate::sandbox::schema;

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    /// JSON text that fits the function's parameters.
    pub(super) arguments: String,
}

/// The call to make: the tool that `tool_choice` names; the first one if it says
/// `required`; the first one too if it says `auto`, or nothing, and `question`,
/// the user's last text, asks for a tool or names one. A request whose last
/// message is not the user's has no question.
///
/// Chat declares a function in `function`, Responses beside `type`; tools of
/// other types are left alone.
pub(super) fn choose(request: &Request, question: Option<&str>) -> Checked<Option<Call>> {
    let functions = match request.get("tools") {
        None => Vec::new(),
        Some(Value::Array(tools)) => functions(tools)?,
        Some(other) => return Err(Refused::wrong_type("tools", "an array of objects", other)),
    };
    let chosen = match request.get("tool_choice") {
        None => asked_for(&functions, question),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => asked_for(&functions, question),
            "none" => None,
            "required" => Some(functions.first().ok_or_else(|| {
                Refused::invalid("tool_choice", "it is only allowed when 'tools' are specified.")
            })?),
            _ => {
                let message = "supported values are: 'none', 'auto' and 'required'.";
                return Err(Refused::invalid("tool_choice", message));
            }
        },
        Some(choice) => Some(named(&functions, choice)?),
    };
    Ok(chosen.map(|function| Call {
        name: function.name.to_owned(),
        arguments: function
            .parameters
            .map(schema::example)
            .filter(Value::is_object)
            .map_or_else(|| "{}".to_owned(), |arguments| arguments.to_string()),
    }))
}

struct Function<'a> {
    name: &'a str,
    parameters: Option<&'a Value>,
}

fn functions(tools: &[Value]) -> Checked<Vec<Function<'_>>> {
    let mut functions = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let Some(kind) = tool.get("type").and_then(Value::as_str) else {
            return Err(Refused::missing(&format!("tools[{index}].type")));
        };
        if kind != "function" {
            continue;
        }
        let function = tool.get("function").unwrap_or(tool);
        let Some(name) = function.get("name").and_then(Value::as_str) else {
            return Err(Refused::missing(&format!("tools[{index}].function.name")));
        };
        functions.push(Function { name, parameters: function.get("parameters") });
    }
    Ok(functions)
}

fn named<'a, 'f>(functions: &'f [Function<'a>], choice: &Value) -> Checked<&'f Function<'a>> {
    let holder = choice.get("function").unwrap_or(choice);
    let Some(name) = holder.get("name").and_then(Value::as_str) else {
        return Err(Refused::missing("tool_choice.function.name"));
    };
    functions
        .iter()
        .find(|function| function.name == name)
        .ok_or_else(|| Refused::invalid("tool_choice", "the function is not among the 'tools'."))
}

fn asked_for<'a, 'f>(
    functions: &'f [Function<'a>],
    question: Option<&str>,
) -> Option<&'f Function<'a>> {
    let question = question?.to_lowercase();
    let named = |function: &&Function<'_>| {
        let name = function.name.to_lowercase();
        question.contains(&name) || question.contains(&name.replace(['_', '-'], " "))
    };
    let first = functions.first().filter(|_| question.contains("tool"));
    functions.iter().find(named).or(first)
}
