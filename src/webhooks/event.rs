//! What is told: an event's name, time and data.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::base::clock::Timestamp;
use crate::base::id::RecordId;
use crate::config::QUOTA_WARNING;
use crate::notice::Notice;
use crate::store::outbox::{Entry, Once};

/// An event of a test, which every address gets, whatever it asked for.
pub(super) const TEST: &str = "webhook.test";

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name, such as `quota.warning`.
    pub kind: &'static str,
    /// Its id; it stays the same however often it is sent.
    pub id: RecordId,
    /// When it happened.
    pub time: Timestamp,
    /// What happened: an object.
    pub data: Value,
}

/// The id of an event as it is shown and sent.
pub(super) fn public_id(id: RecordId) -> String {
    format!("evt_{}", id.0.simple())
}

/// The body of a request that tells of `entry`.
pub(super) fn body(entry: &Entry) -> String {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        timestamp: String,
        data: &'a RawValue,
    }
    let data: &RawValue = serde_json::from_str(&entry.data).unwrap_or(RawValue::NULL);
    let body = Body { kind: &entry.kind, timestamp: entry.time().to_string(), data };
    serde_json::to_string(&body).unwrap_or_default()
}

/// What an event says of `notice`.
pub(super) fn notice_data(notice: &Notice) -> Value {
    json!({
        "account": notice.account,
        "key_id": notice.key_id,
        "kind": notice.kind.as_str(),
        "threshold": notice.threshold,
        "used": notice.used,
        "limit": notice.limit,
        "month": notice.month,
    })
}

/// What is announced by `notice`: one threshold of one limit in one month.
pub(super) fn notice_once(notice: &Notice) -> Once {
    let key = notice.key_id.as_deref().unwrap_or_default();
    let (kind, threshold) = (notice.kind.as_str(), notice.threshold);
    Once {
        period: notice.month.clone(),
        // No name of an account or key holds a line break.
        name: format!("{QUOTA_WARNING}\n{kind}\n{threshold}\n{}\n{key}", notice.account),
    }
}
