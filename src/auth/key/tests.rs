//! Keys: how they are made, presented, hashed and shown.

use proptest::prelude::*;

use super::*;

const KEY: &[u8] = b"tg_live_0123456789abcdefghijABCDEFGHIJ01";

#[test]
fn made_keys_have_the_format_and_differ() {
    let keys: std::collections::HashSet<String> =
        (0..2_000).map(|_| generate().expose().to_owned()).collect();
    assert_eq!(keys.len(), 2_000);
    let mut seen = std::collections::HashSet::new();
    for key in &keys {
        let random = key.strip_prefix("tg_live_").unwrap();
        assert_eq!(random.len(), 32);
        assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(presented(None, Some(key.as_bytes())), Ok(key.as_str()));
        seen.extend(random.bytes());
    }
    assert_eq!(seen.len(), 62, "every base-62 character occurs");
}

#[test]
fn a_key_is_found_in_either_header() {
    let key = std::str::from_utf8(KEY).unwrap();
    for scheme in ["Bearer ", "bearer ", "BEARER ", "  bEaReR \t  ", "Bearer\t"] {
        let value = format!("{scheme}{key}  ");
        assert_eq!(presented(Some(value.as_bytes()), None), Ok(key), "{value:?}");
        assert_eq!(presented(Some(value.as_bytes()), Some(KEY)), Ok(key), "both alike");
        assert_eq!(presented(Some(value.as_bytes()), Some(b" ")), Ok(key), "the other empty");
    }
    assert_eq!(presented(None, Some(b" \ttg_live_0123456789 ")), Ok("tg_live_0123456789"));
    assert_eq!(presented(Some(b"Bearer "), Some(KEY)), Ok(key), "an empty bearer is none");
}

#[test]
fn what_is_no_key_is_named() {
    for nothing in [None, Some(&b""[..]), Some(b"Bearer"), Some(b"Bearer  "), Some(b"  ")] {
        assert_eq!(presented(nothing, None), Err(BadKey::Missing), "{nothing:?}");
        assert_eq!(presented(nothing, Some(b"")), Err(BadKey::Missing));
    }
    let long = [b'k'; 257];
    let wrong: [&[u8]; 7] = [
        b"1234567",
        b"with space",
        b"tab\tinside",
        b"caf\xc3\xa9-cafe",
        b"\xff\xfe12345678",
        b"nul\0-inside",
        &long,
    ];
    for key in wrong {
        assert_eq!(presented(None, Some(key)), Err(BadKey::Malformed), "{key:?}");
        let bearer = [b"Bearer ", key].concat();
        assert_eq!(presented(Some(&bearer), None), Err(BadKey::Malformed), "{key:?}");
    }
    assert_eq!(presented(None, Some(&long[..256])).unwrap().len(), 256);
    assert_eq!(presented(None, Some(b"12345678")), Ok("12345678"));
    let others: [&[u8]; 4] =
        [b"Basic dXNlcjpwYXNz", KEY, b"Bearertg_live_01234567", b"Token 12345678"];
    for other in others {
        assert_eq!(presented(Some(other), None), Err(BadKey::Malformed), "another scheme");
        assert_eq!(
            presented(Some(other), Some(KEY)),
            presented(None, Some(KEY)),
            "the other header counts"
        );
    }
    let two = presented(Some(b"Bearer the-bearer-counts"), Some(KEY));
    assert_eq!(two, Ok("the-bearer-counts"), "of two keys");
}

proptest! {
    #[test]
    fn any_header_bytes_give_a_key_or_an_error(
        authorization in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        x_api_key in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) {
        if let Ok(key) = presented(authorization.as_deref(), x_api_key.as_deref()) {
            prop_assert!(is_acceptable(key.as_bytes()));
        }
    }

    #[test]
    fn every_acceptable_key_is_accepted(key in "[!-~]{8,256}") {
        let bearer = format!("Bearer {key}");
        prop_assert_eq!(presented(Some(bearer.as_bytes()), None), Ok(key.as_str()));
        prop_assert_eq!(presented(None, Some(key.as_bytes())), Ok(key.as_str()));
    }
}

#[test]
fn the_hash_is_blake3_keyed_by_the_secret() {
    let hasher = KeyHasher::new([7; 32]);
    let hash = hasher.hash("12345678");
    assert_eq!(hash.as_bytes(), blake3::keyed_hash(&[7; 32], b"12345678").as_bytes());
    assert_eq!(hash, KeyHash::from_bytes(*hash.as_bytes()));
    assert_ne!(hash, KeyHasher::new([8; 32]).hash("12345678"), "another secret");
    let mut near = *hash.as_bytes();
    near[31] ^= 1;
    assert_ne!(hash, KeyHash::from_bytes(near), "the last bit counts");
}

#[test]
fn what_is_shown_gives_nothing_away() {
    let hash = KeyHasher::new([7; 32]).hash("12345678");
    let id = hash.key_id();
    let hex: String = hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(id.strip_prefix("key_"), hex.get(..12));
    assert_eq!(format!("{hash:?}"), format!("KeyHash({id}…)"));
    assert_eq!(format!("{:?}", KeyHasher::new([0xAB; 32])), "KeyHasher(***)");
    assert_eq!(shown_prefix("tg_live_0123456789abcdefghijABCDEFGHIJ01"), "tg_live_0123");
    assert_eq!(shown_prefix("12345678"), "12", "a short key is not shown whole");
    assert_eq!(shown_prefix(""), "");
}
