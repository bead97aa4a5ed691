//! `/v1/embeddings`. Source: OpenAI API reference, "Embeddings".
//!
//! A vector follows from a hash of its input and the model: equal inputs have
//! equal vectors, all others are nearly orthogonal. It says nothing of meaning.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use crate::meter::estimate;
use crate::sandbox::Reply;
use crate::sandbox::request::{Checked, Refused, Request};
use crate::sandbox::seed::Seed;

const PATH: &str = "/v1/embeddings";
/// OpenAI's bound on the inputs of one request.
const MOST_INPUTS: usize = 2_048;

#[derive(Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

pub(super) fn respond(body: &[u8]) -> Checked<Reply> {
    let request = Request::read(body)?;
    let inputs = inputs(request.required("input")?)?;
    let in_base64 = match request.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let message = "supported values are: 'float' and 'base64'.";
            return Err(Refused::invalid("encoding_format", message));
        }
    };
    let model = request.model();
    let own = if model == "text-embedding-3-large" { 3_072 } else { 1_536 };
    let dimensions = request.integer("dimensions", 1, own)?.unwrap_or(own);
    let embed = |(index, input)| {
        let vector = vector(Seed::of(PATH, model, input), dimensions);
        let embedding = if in_base64 { encode(&vector) } else { Vector::Floats(vector) };
        Embedding { object: "embedding", index, embedding }
    };
    let tokens = estimate::prompt_tokens(PATH, body);
    let answer = Answer {
        object: "list",
        data: inputs.into_iter().enumerate().map(embed).collect(),
        model,
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    };
    let body = serde_json::to_vec(&answer).unwrap_or_default();
    Ok(Reply::whole(body.into()))
}

/// The inputs: texts, or arrays of tokens.
fn inputs(input: &Value) -> Checked<Vec<&Value>> {
    let wrong = |value| {
        let expected = "a string, an array of strings, or arrays of integers";
        Refused::wrong_type("input", expected, value)
    };
    let is_tokens = |value: &Value| {
        value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_u64))
    };
    let one = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        value => is_tokens(value),
    };
    match input {
        Value::Array(all) if all.is_empty() => Err(Refused::empty("input")),
        Value::Array(all) if all.len() > MOST_INPUTS && !is_tokens(input) => {
            Err(Refused::invalid("input", "expected at most 2048 inputs."))
        }
        Value::Array(all) if !is_tokens(input) => match all.iter().find(|value| !one(value)) {
            Some(Value::String(_)) => Err(Refused::invalid("input", "an input is empty.")),
            Some(other) => Err(wrong(other)),
            None => Ok(all.iter().collect()),
        },
        input if one(input) => Ok(vec![input]),
        Value::String(_) => Err(Refused::invalid("input", "it is empty.")),
        other => Err(wrong(other)),
    }
}

/// A vector of length 1.
#[expect(clippy::float_arithmetic, reason = "an embedding is made of floats")]
fn vector(seed: Seed, dimensions: usize) -> Vec<f32> {
    let mut bytes = vec![0; dimensions * 2];
    seed.fill(&mut bytes);
    let (pairs, _) = bytes.as_chunks::<2>();
    let mut vector: Vec<f32> =
        pairs.iter().map(|pair| f32::from(i16::from_le_bytes(*pair)) + 0.5).collect();
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    for number in &mut vector {
        *number /= length;
    }
    vector
}

/// The vector as the OpenAI SDKs ask for it: little-endian 32-bit floats in base64.
fn encode(vector: &[f32]) -> Vector {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    Vector::Base64(STANDARD.encode(bytes))
}
