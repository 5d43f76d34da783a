//! The file of a backup: encrypted in chunks, each authentic at its position, with a marked end.
//!
//! First a line of JSON in the clear ([`Header`]); then chunks, each preceded by its length:
//! AES-256-GCM under a key of this file, authenticated together with the header, the number of the
//! chunk, and whether it is the last. Inside is a list of [`ExportRecord`]s in `MessagePack`, as in the
//! store, because JSON holds not all that a newer version may have added. So nothing can be changed,
//! left out, moved or cut off without being noticed.
//!
//! Must stay true: nothing personal is outside of a chunk; a reader uses nothing before it is
//! decrypted and authentic.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::ExportRecord;
use crate::{
    crypto::{self, Key},
    entropy::{Entropy, NoEntropy},
    types::Timestamp,
};

/// The version that is written, and the newest that is read. Form 1 has the same records but for
/// ended sessions, which come as the others do.
const FORMAT: u32 = 3;
/// The newest whose chunks are lines of JSON.
const NEWEST_JSON_FORMAT: u32 = 2;
/// Longest chunk, sealed.
const MAX_CHUNK_LEN: usize = 4 << 20;
/// Longest header.
const MAX_HEADER_LEN: usize = 4096;

/// What a file says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// The version of the form.
    pub menshen_export: u32,
    /// When the store was so. Milliseconds since 1970-01-01T00:00:00Z.
    pub at: Timestamp,
    /// The store was in use: what was revoked later is not in it.
    pub live: bool,
    /// Random: makes the key of the file.
    salt: String,
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("this is no export of menshen")]
    NotOurs,
    #[error("this export is of a newer menshen (form {0}; this one reads up to {FORMAT})")]
    Newer(u32),
    #[error("it does not open: sealed with another key, or changed")]
    Sealed,
    #[error("it ends too early: a part is missing")]
    Truncated,
    #[error("there is something after its end")]
    Trailing,
    #[error("it holds something that this menshen does not know")]
    Unknown,
    #[error("cannot read: {0}")]
    Io(io::Error),
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

impl From<io::Error> for BackupError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Truncated
        } else {
            Self::Io(error)
        }
    }
}

/// The key of exports, derived from the encryption key of the config.
pub fn export_key(encryption_key: &Key) -> Key {
    crypto::derive(encryption_key, "store export")
}

/// Makes the bytes of a file.
pub struct Encryptor {
    key: Key,
    raw_header: Vec<u8>,
    number: u64,
    entropy: Entropy,
}

impl Encryptor {
    /// Begins a file; the bytes are its header.
    pub fn begin(
        key: &Key,
        at: Timestamp,
        live: bool,
        entropy: &Entropy,
    ) -> Result<(Self, Vec<u8>), BackupError> {
        let salt = hex::encode(entropy.bytes::<32>()?);
        let header = Header {
            menshen_export: FORMAT,
            at,
            live,
            salt,
        };
        let mut bytes = serde_json::to_vec(&header).map_err(|_| BackupError::Unknown)?;
        bytes.push(b'\n');
        let encryptor = Self {
            key: file_key(key, &header),
            raw_header: bytes.clone(),
            number: 0,
            entropy: entropy.clone(),
        };
        Ok((encryptor, bytes))
    }

    /// The bytes of some more; of the end with `is_last`.
    pub fn chunk(
        &mut self,
        records: &[ExportRecord],
        is_last: bool,
    ) -> Result<Vec<u8>, BackupError> {
        let plain = rmp_serde::to_vec_named(records).map_err(|_| BackupError::Unknown)?;
        self.seal(&zeroize::Zeroizing::new(plain), is_last)
    }

    fn seal(&mut self, plain: &[u8], is_last: bool) -> Result<Vec<u8>, BackupError> {
        let context = context(&self.raw_header, self.number, is_last);
        self.number += 1;
        let sealed = crypto::seal(&self.key, &self.entropy, &context, plain)?;
        let length = u32::try_from(sealed.len()).map_err(|_| BackupError::Unknown)?;
        let mut bytes = Vec::with_capacity(5 + sealed.len());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.push(u8::from(is_last));
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }
}

/// Reads a file.
pub struct Decryptor<R> {
    source: R,
    key: Key,
    raw_header: Vec<u8>,
    pub header: Header,
    number: u64,
    is_over: bool,
}

impl<R: Read> Decryptor<R> {
    /// Reads the header.
    pub fn begin(mut source: R, key: &Key) -> Result<Self, BackupError> {
        let mut raw_header = Vec::new();
        while raw_header.last() != Some(&b'\n') {
            let mut byte = [0];
            if raw_header.len() >= MAX_HEADER_LEN || source.read(&mut byte)? == 0 {
                return Err(BackupError::NotOurs);
            }
            raw_header.push(byte[0]);
        }
        let version: serde_json::Value =
            serde_json::from_slice(&raw_header).map_err(|_| BackupError::NotOurs)?;
        let form = version["menshen_export"]
            .as_u64()
            .ok_or(BackupError::NotOurs)?;
        if !(1..=u64::from(FORMAT)).contains(&form) {
            return Err(BackupError::Newer(u32::try_from(form).unwrap_or(u32::MAX)));
        }
        let header: Header = serde_json::from_value(version).map_err(|_| BackupError::NotOurs)?;
        Ok(Self {
            source,
            key: file_key(key, &header),
            raw_header,
            header,
            number: 0,
            is_over: false,
        })
    }

    /// The next ones; `None` after the last.
    pub fn chunk(&mut self) -> Result<Option<Vec<ExportRecord>>, BackupError> {
        if self.is_over {
            return if self.source.read(&mut [0])? == 0 {
                Ok(None)
            } else {
                Err(BackupError::Trailing)
            };
        }
        let mut head = [0; 5];
        self.source.read_exact(&mut head)?;
        let [a, b, c, d, last] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_CHUNK_LEN || last > 1 {
            return Err(BackupError::Sealed);
        }
        let mut sealed = vec![0; length];
        self.source.read_exact(&mut sealed)?;
        let context = context(&self.raw_header, self.number, last == 1);
        let plain = crypto::open(&self.key, &context, &sealed)
            .map(zeroize::Zeroizing::new)
            .ok_or(BackupError::Sealed)?;
        self.number += 1;
        self.is_over = last == 1;
        records(self.header.menshen_export, &plain).map(Some)
    }
}

/// The records in a chunk of a file of this version.
fn records(format: u32, plain: &[u8]) -> Result<Vec<ExportRecord>, BackupError> {
    if format > NEWEST_JSON_FORMAT {
        return rmp_serde::from_slice(plain).map_err(|_| BackupError::Unknown);
    }
    let lines = plain.split(|&byte| byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).map_err(|_| BackupError::Unknown))
        .collect()
}

fn file_key(key: &Key, header: &Header) -> Key {
    Key::new(crypto::mac(key, &[b"file", header.salt.as_bytes()]))
}

fn context(raw_header: &[u8], number: u64, is_last: bool) -> Vec<u8> {
    [raw_header, &number.to_be_bytes(), &[u8::from(is_last)]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::UnknownFields, types::UserId};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn gone(id: &str) -> ExportRecord {
        ExportRecord::Tombstone {
            id: UserId::parse(id).unwrap(),
            at: NOW,
            merged_into: None,
            unknown: UnknownFields::default(),
        }
    }

    fn file() -> Vec<u8> {
        let (mut encryptor, mut bytes) =
            Encryptor::begin(&Key::new([1; 32]), NOW, true, &Entropy::default()).unwrap();
        bytes.extend(
            encryptor
                .chunk(&[gone("first-user"), gone("second-user")], false)
                .unwrap(),
        );
        bytes.extend(encryptor.chunk(&[gone("third-user")], false).unwrap());
        bytes.extend(encryptor.chunk(&[], true).unwrap());
        bytes
    }

    fn read(bytes: &[u8], key: [u8; 32]) -> Result<usize, BackupError> {
        let mut decryptor = Decryptor::begin(bytes, &Key::new(key))?;
        let mut records = 0;
        while let Some(some) = decryptor.chunk()? {
            records += some.len();
        }
        Ok(records)
    }

    #[test]
    fn what_goes_in_comes_out_and_nothing_can_be_seen_of_it() {
        let file = file();
        assert_eq!(read(&file, [1; 32]).unwrap(), 3);
        assert!(!file.windows(10).any(|part| part == b"first-user"));
        assert!(matches!(read(&file, [2; 32]), Err(BackupError::Sealed)));
    }

    #[test]
    fn every_byte_counts() {
        let file = file();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(read(&changed, [1; 32]).is_err(), "byte {at}");
            assert!(read(&file[..at], [1; 32]).is_err(), "cut at {at}");
        }
        assert!(matches!(
            read(&[file.clone(), vec![0]].concat(), [1; 32]),
            Err(BackupError::Trailing)
        ));
        assert!(matches!(
            read(&file[..file.len() - 33], [1; 32]),
            Err(BackupError::Truncated)
        ));
    }

    /// A file of the first two versions of the form, whose chunks are lines of JSON.
    #[test]
    fn an_older_form_is_read() {
        for format in [1, 2] {
            let entropy = Entropy::default();
            let (mut encryptor, _) =
                Encryptor::begin(&Key::new([1; 32]), NOW, false, &entropy).unwrap();
            let header = Header {
                menshen_export: format,
                at: NOW,
                live: false,
                salt: "ab".repeat(32),
            };
            let mut file = serde_json::to_vec(&header).unwrap();
            file.push(b'\n');
            encryptor.raw_header.clone_from(&file);
            encryptor.key = file_key(&Key::new([1; 32]), &header);
            let lines = include_bytes!("contract/export-form-1.jsonl");
            file.extend(encryptor.seal(lines, true).unwrap());
            assert_eq!(read(&file, [1; 32]).unwrap(), 9);
        }
    }

    #[test]
    fn a_newer_form_is_refused_by_its_name() {
        let newer = b"{\"menshen_export\":4,\"more\":true}\nwhatever";
        assert!(matches!(read(newer, [1; 32]), Err(BackupError::Newer(4))));
        assert!(matches!(
            read(b"PK\x03\x04", [1; 32]),
            Err(BackupError::NotOurs)
        ));
    }
}
