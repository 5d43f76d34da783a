//! Only phone data from WeChat is decrypted.

use aes::cipher::BlockModeEncrypt;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const APP: &str = "wx4f4bc4dec97d474b";
const KEY: [u8; BLOCK_LEN] = *b"a session key 16";
const IV: [u8; BLOCK_LEN] = *b"an iv of 16 byte";
const NOW: u64 = 1_700_000_100;

fn encrypt_padded(key: &[u8; BLOCK_LEN], iv: &[u8; BLOCK_LEN], padded: &[u8]) -> Vec<u8> {
    let mut bytes = padded.to_vec();
    let (blocks, rest) = Block::slice_as_chunks_mut(&mut bytes);
    assert!(rest.is_empty());
    cbc::Encryptor::<Aes128>::new(key.into(), iv.into()).encrypt_blocks(blocks);
    bytes
}

fn encrypt(plain: impl AsRef<[u8]>) -> Vec<u8> {
    encrypt_padded(&KEY, &IV, &pad(plain.as_ref()))
}

fn pad(plain: &[u8]) -> Vec<u8> {
    let missing = BLOCK_LEN - plain.len() % BLOCK_LEN;
    [plain, &vec![u8::try_from(missing).unwrap(); missing]].concat()
}

fn decryption(now: u64) -> PhoneDecryption {
    PhoneDecryption::new(
        Duration::from_mins(5),
        Clock::manual(Timestamp::from_secs(now)),
    )
}

fn secret(key: &[u8]) -> Secret<String> {
    Secret::new(STANDARD.encode(key))
}

fn open_text(
    keys: &[Secret<String>],
    encrypted_data: &str,
    iv: &str,
    now: u64,
) -> Result<String, DecryptFailed> {
    let app = AppId::parse(APP).unwrap();
    decryption(now)
        .phone(&app, keys, &EncryptedPhone { encrypted_data, iv })
        .map(|got| String::from(got.phone))
}

fn open_with(iv: &[u8; BLOCK_LEN], ciphertext: &[u8]) -> Result<String, DecryptFailed> {
    open_text(
        &[secret(&KEY)],
        &STANDARD.encode(ciphertext),
        &STANDARD.encode(iv),
        NOW,
    )
}

fn open(ciphertext: &[u8]) -> Result<String, DecryptFailed> {
    open_with(&IV, ciphertext)
}

fn members(number: &str, timestamp: u64) -> Value {
    json!({
        "phoneNumber": number,
        "purePhoneNumber": number,
        "countryCode": "86",
        "watermark": { "timestamp": timestamp, "appid": APP },
    })
}

/// In the order of WeChat: the first block is exactly `{"phoneNumber":"`.
fn plain(number: &str, timestamp: u64) -> String {
    format!(
        r#"{{"phoneNumber":"{number}","purePhoneNumber":"{number}","countryCode":"86","watermark":{{"timestamp":{timestamp},"appid":"{APP}"}}}}"#
    )
}

#[test]
fn the_published_texts_decrypt_and_only_the_phone_number_is_one() {
    let table: Value =
        serde_json::from_str(include_str!("../../../../tests/data/wechat-decrypt.json")).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for vector in table["vectors"].as_array().unwrap() {
        let of = |name: &str| vector[name].as_str().unwrap_or_default();
        let id = of("id");
        let sent = EncryptedPhone {
            encrypted_data: of("encrypted_data"),
            iv: of("iv"),
        };
        let app = AppId::parse(of("appid")).unwrap();
        let made = vector["expect_json"]["watermark"]["timestamp"]
            .as_u64()
            .unwrap_or(1_477_314_187);
        let got =
            decryption(made + 300).phone(&app, &[Secret::new(of("session_key").to_owned())], &sent);
        if of("kind") == "phone" && of("expect") == "ok" {
            assert_eq!(
                got.map(|got| String::from(got.phone)).as_deref(),
                Ok("+8613800138000"),
                "{id}"
            );
            opened += 1;
        } else {
            assert_eq!(got, Err(DecryptFailed), "{id}");
            refused += 1;
        }
        if of("expect") == "ok" {
            let key = block(of("session_key")).unwrap();
            let sent = DecodedInput::read(&sent);
            let bytes = decrypt(&key, &sent.iv, &sent.ciphertext);
            let (text, is_right) = unpad(&bytes);
            assert!(bool::from(is_right), "{id}");
            assert_eq!(std::str::from_utf8(text), Ok(of("plaintext_utf8")), "{id}");
        }
    }
    assert_eq!((opened, refused), (1, 7));
}

#[test]
fn the_previous_key_is_tried_too_and_no_third_one() {
    let (data, iv) = (
        STANDARD.encode(encrypt(plain("13800138000", NOW))),
        STANDARD.encode(IV),
    );
    let (right, wrong) = (secret(&KEY), secret(&[9; BLOCK_LEN]));
    let good = Ok("+8613800138000".to_owned());
    for (keys, expected) in [
        (vec![right.clone()], good.clone()),
        (vec![right.clone(), wrong.clone()], good.clone()),
        (vec![wrong.clone(), right.clone()], good.clone()),
        (
            vec![Secret::new("not a key".to_owned()), right.clone()],
            good,
        ),
        (vec![], Err(DecryptFailed)),
        (vec![wrong.clone()], Err(DecryptFailed)),
        (
            vec![wrong.clone(), wrong.clone(), right.clone()],
            Err(DecryptFailed),
        ),
    ] {
        assert_eq!(
            open_text(&keys, &data, &iv, NOW),
            expected,
            "{} keys",
            keys.len()
        );
    }
}

#[test]
fn the_stand_in_for_a_missing_key_opens_nothing() {
    let padded = pad(plain("13800138000", NOW).as_bytes());
    let data = STANDARD.encode(encrypt_padded(&[0; BLOCK_LEN], &IV, &padded));
    let short = Secret::new(STANDARD.encode([0; 15]));
    for keys in [
        vec![],
        vec![short.clone()],
        vec![short, Secret::new(String::new())],
        vec![secret(&KEY)],
    ] {
        assert_eq!(
            open_text(&keys, &data, &STANDARD.encode(IV), NOW),
            Err(DecryptFailed)
        );
    }
    assert!(open_text(&[secret(&[0; BLOCK_LEN])], &data, &STANDARD.encode(IV), NOW).is_ok());
}

#[test]
fn base64_is_the_one_spelling() {
    let (data, iv) = (
        STANDARD.encode(encrypt(plain("13800138000", NOW))),
        STANDARD.encode(IV),
    );
    let keys = [secret(&KEY)];
    assert!(open_text(&keys, &data, &iv, NOW).is_ok());
    assert!(
        data.contains('+') && data.contains('/') && data.ends_with('='),
        "{data}"
    );
    for (data, iv) in [
        (data.replace('+', " "), iv.clone()),
        (data.replace('+', "-").replace('/', "_"), iv.clone()),
        (data.trim_end_matches('=').to_owned(), iv.clone()),
        (format!("{data}="), iv.clone()),
        (format!("{data}\n"), iv.clone()),
        (format!(" {data}"), iv.clone()),
        (String::new(), iv.clone()),
        ("é".repeat(12), iv.clone()),
        (data.clone(), String::new()),
        (data.clone(), iv.trim_end_matches('=').to_owned()),
        (data.clone(), format!("{iv}\n")),
        (data.clone(), STANDARD.encode(&IV[..15])),
        (
            data.clone(),
            STANDARD.encode([IV.as_slice(), b"x"].concat()),
        ),
        // The unused bits of the last character are not zero.
        (data.clone(), format!("{}R==", &iv[..iv.len() - 3])),
    ] {
        assert_eq!(
            open_text(&keys, &data, &iv, NOW),
            Err(DecryptFailed),
            "{data} {iv}"
        );
    }
}

#[test]
fn only_whole_blocks_of_a_modest_length() {
    let good = encrypt(plain("13800138000", NOW));
    for length in [0, 1, 15, good.len() - 1] {
        assert_eq!(open(&good[..length]), Err(DecryptFailed), "{length}");
    }
    assert_eq!(open(&[good.as_slice(), &[0]].concat()), Err(DecryptFailed));
    // White space in front is valid JSON, so only the length decides.
    let spaced = |length: usize| {
        let plain = plain("13800138000", NOW);
        encrypt(format!("{}{plain}", " ".repeat(length - 1 - plain.len())))
    };
    assert_eq!(spaced(MAX_CIPHERTEXT_LEN).len(), MAX_CIPHERTEXT_LEN);
    assert!(open(&spaced(MAX_CIPHERTEXT_LEN)).is_ok());
    assert_eq!(
        open(&spaced(MAX_CIPHERTEXT_LEN + BLOCK_LEN)),
        Err(DecryptFailed)
    );
    assert_eq!(open(&spaced(MAX_CIPHERTEXT_LEN * 100)), Err(DecryptFailed));
}

#[test]
fn a_rewritten_first_block_is_refused() {
    let ciphertext = encrypt(plain("13800138000", NOW));
    for wanted in [
        b"{\"x\":\"\",\"yyy\": \"",
        b"{'phoneNumber':\"",
        b"{\"phoneNumber\":1",
        b"[\"phoneNumber\",\"",
        b"               \"",
    ] {
        let mut iv = IV;
        for ((byte, old), new) in iv.iter_mut().zip(b"{\"phoneNumber\":\"").zip(wanted) {
            *byte ^= old ^ new;
        }
        assert_eq!(
            open_with(&iv, &ciphertext),
            Err(DecryptFailed),
            "{wanted:?}"
        );
    }
    for bit in 0..128 {
        let mut iv = IV;
        iv[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open_with(&iv, &ciphertext), Err(DecryptFailed), "bit {bit}");
    }
}

#[test]
fn parts_of_two_texts_under_one_key_do_not_join() {
    let mine = encrypt(plain("13800138000", NOW));
    for theirs in [
        plain("13900139000", NOW),
        plain("13900139000", NOW - 40_000),
        // A nickname can contain anything, so also the end of another text.
        format!(
            r#"{{"nickName":"{}{}"#,
            "y".repeat(7),
            &plain("13900139000", NOW)[16..]
        ),
    ] {
        let theirs = encrypt_padded(&KEY, b"another iv of 16", &pad(theirs.as_bytes()));
        let (head, tail) = (mine.len() / BLOCK_LEN, theirs.len() / BLOCK_LEN);
        for (end, begin) in (1..=head).flat_map(|end| (0..tail).map(move |begin| (end, begin))) {
            let joined = [&mine[..end * BLOCK_LEN], &theirs[begin * BLOCK_LEN..]].concat();
            let is_whole = joined == mine;
            assert_eq!(
                open(&joined).is_ok(),
                is_whole,
                "{end} blocks, then from block {begin}"
            );
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let ciphertext = encrypt(plain("13800138000", NOW));
    assert!(open(&ciphertext).is_ok());
    for bit in 0..ciphertext.len() * 8 {
        let mut changed = ciphertext.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&changed), Err(DecryptFailed), "bit {bit}");
    }
}

#[test]
fn padding_is_exactly_that_of_pkcs7() {
    let text = plain("13800138000", NOW);
    // So that sixteen bytes of padding follow.
    let text = format!("{}{text}", " ".repeat(BLOCK_LEN - text.len() % BLOCK_LEN)).into_bytes();
    let right = |length: u8| {
        [
            &text[usize::from(length) % BLOCK_LEN..],
            &vec![length; length.into()],
        ]
        .concat()
    };
    assert!(open(&encrypt_padded(&KEY, &IV, &right(16))).is_ok());
    let (whole, last) = (right(16), text.len() + BLOCK_LEN - 1);
    let mut wrong = vec![text.clone()];
    for (at, byte) in [
        (last, 0),
        (last, 17),
        (last, 255),
        (last, 15),
        (text.len(), 15),
        (text.len() + 7, 0),
    ] {
        let mut changed = whole.clone();
        changed[at] = byte;
        wrong.push(changed);
    }
    wrong.push([whole.as_slice(), &[16; 16]].concat());
    wrong.push([text.as_slice(), &[b' '; 16]].concat());
    for padded in wrong {
        assert_eq!(
            open(&encrypt_padded(&KEY, &IV, &padded)),
            Err(DecryptFailed)
        );
    }
    for length in 0..=u8::MAX {
        let mut bytes = [length; 2 * BLOCK_LEN];
        bytes[0] = 99;
        let (rest, is_right) = unpad(&bytes);
        let expected = (1..=16).contains(&length);
        assert_eq!(bool::from(is_right), expected, "{length}");
        assert_eq!(
            rest.len(),
            2 * BLOCK_LEN - if expected { usize::from(length) } else { 0 },
            "{length}"
        );
    }
    assert_eq!(unpad(&[]).0.len(), 0);
}

#[test]
fn the_age_is_limited_on_both_sides() {
    let data = |timestamp| STANDARD.encode(encrypt(plain("13800138000", timestamp)));
    for (timestamp, is_good) in [
        (NOW, true),
        (NOW - 300, true),
        (NOW - 301, false),
        (NOW + 300, true),
        (NOW + 301, false),
        (0, false),
        (u64::MAX, false),
        (NOW * 1000, false),
    ] {
        let got = open_text(&[secret(&KEY)], &data(timestamp), &STANDARD.encode(IV), NOW);
        assert_eq!(got.is_ok(), is_good, "{timestamp}");
    }
}

#[test]
fn the_members_are_exactly_these_and_agree() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value = members("13800138000", NOW);
        change(&mut value);
        value.to_string()
    };
    for good in [
        with(&|_| {}),
        with(&|value| value["countryCode"] = json!(86)),
        serde_json::to_string_pretty(&members("13800138000", NOW)).unwrap(),
        with(&|value| {
            *value = json!({ "phoneNumber": "85291234567", "purePhoneNumber": "91234567", "countryCode": "852",
                "watermark": value["watermark"] });
        }),
    ] {
        assert!(open(&encrypt(&good)).is_ok(), "{good}");
    }
    let text = plain("13800138000", NOW);
    let mut bad = vec![
        with(&|value| value["openId"] = json!("oGZUI0egBJY1zhBYw2KhdUfwVJJE")),
        with(&|value| value["watermark"]["more"] = json!(1)),
        with(&|value| value["phoneNumber"] = json!("13900139000")),
        with(&|value| value["purePhoneNumber"] = json!("13900139000")),
        with(&|value| value["phoneNumber"] = json!("8613800138000")),
        with(&|value| value["phoneNumber"] = json!(13_800_138_000_u64)),
        with(&|value| value["countryCode"] = json!("852")),
        with(&|value| value["countryCode"] = json!("")),
        with(&|value| value["countryCode"] = json!(86.5)),
        with(&|value| value["watermark"] = json!([NOW, APP])),
        with(&|value| value["watermark"]["appid"] = json!("wx0000000000000000")),
        with(&|value| value["watermark"]["appid"] = json!(APP.to_uppercase())),
        with(&|value| value["watermark"]["timestamp"] = json!(NOW.to_string())),
        with(&|value| value["watermark"]["timestamp"] = json!(-1)),
        with(&|value| value["watermark"]["timestamp"] = json!(1_700_000_100.5)),
        with(&|value| value["watermark"]["timestamp"] = json!(1e300)),
        json!(["13800138000", "13800138000", "86", { "timestamp": NOW, "appid": APP }]).to_string(),
        text.replacen('{', r#"{"phoneNumber":"13800138000","#, 1),
        text.replacen(r#""appid""#, r#""appid":"wx0","appid""#, 1),
        text.replacen(r#""watermark""#, r#""watermark":{},"watermark""#, 1),
        text.replacen(r#"{"phoneNumber""#, r#"{"phonenumber""#, 1),
        format!("{text}{text}"),
        format!("{text} x"),
        format!("\u{feff}{text}"),
        text[..text.len() - 1].to_owned(),
        "{}".to_owned(),
        "null".to_owned(),
        String::new(),
        "[".repeat(4000),
    ];
    for name in ["phoneNumber", "purePhoneNumber", "countryCode", "watermark"] {
        bad.push(with(&|value| {
            drop(value.as_object_mut().unwrap().remove(name));
        }));
        bad.push(with(&|value| value[name] = Value::Null));
    }
    for name in ["timestamp", "appid"] {
        bad.push(with(&|value| {
            drop(value["watermark"].as_object_mut().unwrap().remove(name));
        }));
    }
    for bad in bad {
        assert_eq!(open(&encrypt(&bad)), Err(DecryptFailed), "{bad}");
    }
    let mut not_utf8 = text.into_bytes();
    not_utf8[20] = 0xff;
    assert_eq!(open(&encrypt(not_utf8)), Err(DecryptFailed));
}

proptest! {
    #[test]
    fn what_wechat_encrypts_comes_back(
        number in "1[3-9][0-9]{9}",
        age in 0_u64..=300,
        key: [u8; BLOCK_LEN],
        iv: [u8; BLOCK_LEN],
    ) {
        let padded = pad(plain(&number, NOW - age).as_bytes());
        let data = STANDARD.encode(encrypt_padded(&key, &iv, &padded));
        let opened = open_text(&[secret(&key)], &data, &STANDARD.encode(iv), NOW);
        prop_assert_eq!(opened, Ok(format!("+86{number}")));
    }

    #[test]
    fn another_iv_or_key_opens_nothing(iv: [u8; BLOCK_LEN], key: [u8; BLOCK_LEN]) {
        prop_assume!(iv != IV && key != KEY);
        let ciphertext = encrypt(plain("13800138000", NOW));
        prop_assert_eq!(open_with(&iv, &ciphertext), Err(DecryptFailed));
        let text = STANDARD.encode(&ciphertext);
        prop_assert_eq!(open_text(&[secret(&key), secret(&key)], &text, &STANDARD.encode(IV), NOW), Err(DecryptFailed));
    }

    #[test]
    fn whatever_is_sent_there_is_an_answer(data in ".{0,80}", iv in ".{0,30}", key in ".{0,30}", bytes: Vec<u8>) {
        let keys = [Secret::new(key), secret(&KEY)];
        prop_assert_eq!(open_text(&keys, &data, &iv, NOW), Err(DecryptFailed));
        prop_assert_eq!(open(&bytes), Err(DecryptFailed));
        prop_assert_eq!(open(&encrypt(&bytes)), Err(DecryptFailed));
    }

    #[test]
    fn right_padding_is_known_from_wrong(bytes in prop::collection::vec(any::<u8>(), 16..64), pad in 0_u8..20) {
        let whole = bytes.len() / BLOCK_LEN * BLOCK_LEN;
        let mut bytes = bytes[..whole].to_vec();
        for at in bytes.iter_mut().rev().take(pad.into()) {
            *at = pad;
        }
        let (rest, is_right) = unpad(&bytes);
        let last = *bytes.last().unwrap();
        let expected = (1..=16).contains(&last) && bytes.iter().rev().take(last.into()).all(|&byte| byte == last);
        prop_assert_eq!(bool::from(is_right), expected);
        prop_assert_eq!(rest.len(), whole - if expected { usize::from(last) } else { 0 });
    }
}
