//! Signatures as in the Standard Webhooks specification (symmetric, `v1`):
//! HMAC-SHA-256 of `id.timestamp.body`, in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::base::secret::Secret;

/// What a secret begins with whose rest is a key in base64.
const ENCODED: &str = "whsec_";

/// The header `webhook-signature` of an event with this id and body that is sent
/// at `seconds` since the Unix epoch.
pub(super) fn signature(secret: &Secret, id: &str, seconds: u64, body: &str) -> String {
    let text = secret.expose();
    let decoded = text.strip_prefix(ENCODED).and_then(|encoded| STANDARD.decode(encoded).ok());
    let bytes = decoded.as_deref().unwrap_or(text.as_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
    let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, and one computed with Python's `hmac`.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let sign = |secret: &str, id, at, body| signature(&Secret::new(secret), id, at, body);
        let example = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(example, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let plain = sign("a plain secret of 30 characters", "evt_1", 1_781_524_800, "{}");
        assert_eq!(plain, "v1,A7/EaZgf4wiAybNMFyAYrflq/8CsvbHj/RSCyi3Ek8I=");
    }
}
