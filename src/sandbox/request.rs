//! What is asked, checked as OpenAI checks it.

use serde_json::{Map, Value};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) message: String,
    /// The member that is wrong.
    pub(super) param: Option<String>,
    pub(super) code: Option<&'static str>,
}

/// A value that was read, or why the request is refused.
pub(super) type Checked<T> = Result<T, Refused>;

impl Refused {
    pub(super) fn not_found(message: &str) -> Self {
        Self { status: 404, message: message.to_owned(), param: None, code: Some("not_found") }
    }

    pub(super) fn missing(param: &str) -> Self {
        let message = format!("Missing required parameter: '{param}'.");
        Self::bad(param, "missing_required_parameter", message)
    }

    pub(super) fn wrong_type(param: &str, expected: &str, value: &Value) -> Self {
        let got = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(number) if number.is_f64() => "a decimal number",
            Value::Number(_) => "an integer",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        let message =
            format!("Invalid type for '{param}': expected {expected}, but got {got} instead.");
        Self::bad(param, "invalid_type", message)
    }

    pub(super) fn invalid(param: &str, message: &str) -> Self {
        Self::bad(param, "invalid_value", format!("Invalid value for '{param}': {message}"))
    }

    pub(super) fn empty(param: &str) -> Self {
        let message = format!(
            "Invalid '{param}': empty array. Expected an array with minimum length 1, but got an \
             empty array instead."
        );
        Self::bad(param, "empty_array", message)
    }

    pub(super) fn unsupported(param: &str, message: &str) -> Self {
        Self::bad(param, "unsupported_parameter", message.to_owned())
    }

    pub(super) fn bad(param: &str, code: &'static str, message: String) -> Self {
        Self { status: 400, message, param: Some(param.to_owned()), code: Some(code) }
    }
}

/// A request's members.
#[derive(Debug)]
pub(super) struct Request {
    members: Map<String, Value>,
}

impl Request {
    /// Reads a body: a JSON object with a model.
    pub(super) fn read(body: &[u8]) -> Checked<Self> {
        let request = Self::read_without_model(body)?;
        if request.get("model").is_none() {
            return Err(Refused {
                status: 400,
                message: "you must provide a model parameter".to_owned(),
                param: None,
                code: None,
            });
        }
        Ok(request)
    }

    /// Reads a body that may lack a model.
    pub(super) fn read_without_model(body: &[u8]) -> Checked<Self> {
        let members = serde_json::from_slice(body).map_err(|_| Refused {
            status: 400,
            message: "We could not parse the JSON body of your request. The body must be one JSON \
                      object."
                .to_owned(),
            param: None,
            code: None,
        })?;
        let request = Self { members };
        request.text("model")?;
        Ok(request)
    }

    /// The model asked for, or else `sandbox`.
    pub(super) fn model(&self) -> &str {
        self.get("model").and_then(Value::as_str).unwrap_or("sandbox")
    }

    /// A member; one that is null counts as left out.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A member that must be there.
    pub(super) fn required(&self, name: &str) -> Checked<&Value> {
        self.get(name).ok_or_else(|| Refused::missing(name))
    }

    /// A boolean, false if left out.
    pub(super) fn flag(&self, name: &str) -> Checked<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(Refused::wrong_type(name, "a boolean", other)),
        }
    }

    /// A string, if there is one.
    pub(super) fn text(&self, name: &str) -> Checked<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Refused::wrong_type(name, "a string", other)),
        }
    }

    /// An integer from `least` to `most`, if there is one.
    pub(super) fn integer(&self, name: &str, least: usize, most: usize) -> Checked<Option<usize>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        if !value.is_i64() && !value.is_u64() {
            return Err(Refused::wrong_type(name, "an integer", value));
        }
        let within = value.as_u64().and_then(|number| usize::try_from(number).ok());
        match within.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Refused::invalid(name, &format!("expected {least} to {most}."))),
        }
    }

    /// Checks that `name`, if given, is a number from `least` to `most`.
    pub(super) fn check_number(&self, name: &str, least: f64, most: f64) -> Checked<()> {
        let Some(value) = self.get(name) else { return Ok(()) };
        match value.as_f64() {
            None => Err(Refused::wrong_type(name, "a decimal number", value)),
            Some(number) if (least..=most).contains(&number) => Ok(()),
            Some(_) => Err(Refused::invalid(name, &format!("expected {least} to {most}."))),
        }
    }

    /// Checks the sampling parameters that chat, completions and responses share.
    pub(super) fn check_sampling(&self) -> Checked<()> {
        self.check_number("temperature", 0.0, 2.0)?;
        self.check_number("top_p", 0.0, 1.0)?;
        self.check_number("presence_penalty", -2.0, 2.0)?;
        self.check_number("frequency_penalty", -2.0, 2.0)
    }

    /// The texts of `stop`: one, or an array of at most four.
    pub(super) fn stops(&self) -> Checked<Vec<&str>> {
        let texts = match self.get("stop") {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => Some(vec![text.as_str()]),
            Some(Value::Array(texts)) if texts.len() <= 4 => {
                texts.iter().map(Value::as_str).collect()
            }
            Some(Value::Array(_)) => {
                return Err(Refused::invalid("stop", "expected at most 4 texts."));
            }
            Some(_) => None,
        };
        texts.ok_or_else(|| {
            let value = self.get("stop").unwrap_or(&Value::Null);
            Refused::wrong_type("stop", "a string or an array of strings", value)
        })
    }

    /// Whether a stream is asked for, and whether its usage is.
    pub(super) fn stream(&self) -> Checked<Stream> {
        let stream = self.flag("stream")?;
        let include_usage = match self.get("stream_options") {
            None => false,
            Some(_) if !stream => {
                return Err(Refused::invalid(
                    "stream_options",
                    "it is only allowed when 'stream' is enabled.",
                ));
            }
            Some(Value::Object(options)) => match options.get("include_usage") {
                None | Some(Value::Null) => false,
                Some(Value::Bool(include)) => *include,
                Some(other) => {
                    let param = "stream_options.include_usage";
                    return Err(Refused::wrong_type(param, "a boolean", other));
                }
            },
            Some(other) => return Err(Refused::wrong_type("stream_options", "an object", other)),
        };
        Ok(match (stream, include_usage) {
            (false, _) => Stream::No,
            (true, false) => Stream::Plain,
            (true, true) => Stream::WithUsage,
        })
    }
}

/// How the answer is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Whole.
    No,
    /// As events.
    Plain,
    /// As events, the last one with usage.
    WithUsage,
}
