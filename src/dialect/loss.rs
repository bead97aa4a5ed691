//! What cannot be translated.

use std::fmt;

use crate::dialect::Dialect;

/// The longest name of a field that is told, in bytes: names come from clients.
const LONGEST_PARAM: usize = 200;
/// The most names of dropped fields that are told of one request.
const MOST_DROPPED: usize = 64;

/// What a target cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The field as the client knows it, such as `logit_bias` or
    /// `messages[3].content[0].input_audio`.
    pub param: String,
    /// A sentence for the client.
    pub message: String,
}

/// Why a request cannot be translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bad {
    /// The target cannot express it.
    Unsupported(Unsupported),
    /// It is wrong in its own dialect, such as the result of a tool that was
    /// not called.
    Invalid {
        /// The field.
        param: String,
        /// A sentence for the client.
        message: String,
    },
}

/// What becomes of fields that a target cannot express:
/// `routing.on_unsupported`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnsupported {
    /// The request is refused.
    #[default]
    Refuse,
    /// The field is left out.
    Drop,
}

/// A provider's answer breaks its own protocol. Says where, and nothing of what
/// the answer says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider's answer is not what its API describes: {0}")]
pub struct Garbled(pub(super) String);

/// The result of what reads or writes a request.
pub(super) type Checked<T> = Result<T, Bad>;

impl Bad {
    /// `param` is wrong: `message`, a sentence about it.
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { param: short(param.into()), message: message.into() }
    }

    /// The target cannot express `param`, and it cannot be left out.
    pub(super) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Unsupported(Unsupported { param: short(param.into()), message: message.into() })
    }

    /// The field at fault.
    pub fn param(&self) -> &str {
        match self {
            Self::Unsupported(Unsupported { param, .. }) | Self::Invalid { param, .. } => param,
        }
    }

    /// The sentence for the client.
    pub fn message(&self) -> &str {
        match self {
            Self::Unsupported(Unsupported { message, .. }) | Self::Invalid { message, .. } => {
                message
            }
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.param(), self.message())
    }
}

impl std::error::Error for Bad {}

/// What is wrong with a request is, in an answer, the provider's fault.
impl From<Bad> for Garbled {
    fn from(bad: Bad) -> Self {
        Self(bad.param().to_owned())
    }
}

/// Takes note of what is lost on the way, if that may be.
#[derive(Debug)]
pub(super) struct Losses {
    client: Dialect,
    on: OnUnsupported,
    dropped: Vec<String>,
}

/// Why most fields are lost.
pub(super) const NOTHING: &str = "The provider of this model has nothing like this field.";

impl Losses {
    /// Nothing is lost yet of a request in the dialect `client`.
    pub(super) const fn new(client: Dialect, on: OnUnsupported) -> Self {
        Self { client, on, dropped: Vec::new() }
    }

    /// The target lacks what the form calls `field`; see [`Self::lose`].
    pub(super) fn lacks(&mut self, field: &str, message: &str) -> Checked<()> {
        self.lose_as(self.client.name_of(field), message)
    }

    /// The model does not think, and is asked to. Clients of Messages ask as a matter of
    /// course, for a budget that is a bound, or an effort that is guidance: theirs is
    /// dropped in any case.
    pub(super) fn lacks_thinking(&mut self) -> Checked<()> {
        if self.client == Dialect::Messages {
            self.drop_field(self.client.name_of("reasoning").to_owned());
            return Ok(());
        }
        self.lacks("reasoning", "This model does not think.")
    }

    /// `param` cannot be expressed: an error, or it is dropped.
    pub(super) fn lose(&mut self, param: impl Into<String>) -> Checked<()> {
        self.lose_as(param, NOTHING)
    }

    /// The same with a sentence of its own.
    pub(super) fn lose_as(&mut self, param: impl Into<String>, message: &str) -> Checked<()> {
        let param = short(param.into());
        match self.on {
            OnUnsupported::Drop => {
                self.drop_field(param);
                Ok(())
            }
            OnUnsupported::Refuse => Err(Bad::unsupported(param, message)),
        }
    }

    fn drop_field(&mut self, param: String) {
        if self.dropped.len() < MOST_DROPPED {
            self.dropped.push(param);
        }
    }

    /// What was dropped.
    pub(super) fn dropped(self) -> Vec<String> {
        self.dropped
    }
}

fn short(mut param: String) -> String {
    param.truncate(param.floor_char_boundary(LONGEST_PARAM));
    param
}
