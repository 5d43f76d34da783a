//! The store as it was at one moment, read while others write.
//!
//! The engines have no snapshots of their own. So while one is open, the writer keeps the
//! before-image of each key that it changes; a reader of the snapshot reads the engine first and
//! the before-images after that.
//!
//! Must stay true: a before-image is kept before the change is committed, so a reader that sees the
//! change finds it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::store::{
    engine::{Changes, LocalEngine, Pair, Source},
    error::EngineError,
    operations::layout,
};

/// Most bytes of before-images of one snapshot; beyond, reading it fails.
const MAX_BEFORE_IMAGE_BYTES: usize = 256 << 20;

/// The snapshots that are open.
#[derive(Default)]
pub(super) struct Snapshots(Mutex<Vec<Weak<Mutex<BeforeImages>>>>);

#[derive(Default)]
struct BeforeImages {
    values: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Snapshots {
    /// Opens one. Only the writer calls this, so it is of the state between two groups.
    pub(super) fn begin(&self, engine: Arc<dyn LocalEngine>) -> Snapshot {
        let before_images = Arc::new(Mutex::new(BeforeImages::default()));
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&before_images));
        Snapshot {
            engine,
            before_images,
        }
    }

    /// Keeps the before-images of the keys that are about to change.
    pub(super) fn note(&self, engine: &dyn Source, changes: &Changes) -> Result<(), EngineError> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|before_images| before_images.strong_count() > 0);
        for before_images in open.iter().filter_map(Weak::upgrade) {
            let mut before_images = before_images.lock().unwrap_or_else(PoisonError::into_inner);
            for key in changes.keys().filter(|key| is_exported(key)) {
                if before_images.bytes <= MAX_BEFORE_IMAGE_BYTES
                    && !before_images.values.contains_key(key)
                {
                    let value = engine.get(key)?;
                    before_images.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                    before_images.values.insert(key.clone(), value);
                }
            }
        }
        Ok(())
    }
}

/// Indexes, codes and messages are in no export.
fn is_exported(key: &[u8]) -> bool {
    ![
        layout::LOGIN_CODES.prefix(),
        layout::NOTICES.prefix(),
        layout::SMS,
        b"w/",
    ]
    .iter()
    .any(|kind| key.starts_with(kind))
}

/// The store at one moment.
pub(super) struct Snapshot {
    engine: Arc<dyn LocalEngine>,
    before_images: Arc<Mutex<BeforeImages>>,
}

impl Snapshot {
    /// The pairs after one key and up to another, as they were.
    fn apply_before_images(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        last: Option<&[u8]>,
        pairs: Vec<Pair>,
    ) -> Result<Vec<Pair>, EngineError> {
        let before_images = self
            .before_images
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if before_images.bytes > MAX_BEFORE_IMAGE_BYTES {
            return Err(EngineError::Refused(
                "too much was written meanwhile: export at a quieter time",
            ));
        }
        let mut pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        for (key, value) in before_images
            .values
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
        {
            let is_within = after.is_none_or(|after| key.as_slice() > after)
                && last.is_none_or(|last| key.as_slice() <= last);
            match value {
                Some(value) if is_within => drop(pairs.insert(key.clone(), value.clone())),
                None => drop(pairs.remove(key)),
                Some(_) => {}
            }
        }
        Ok(pairs.into_iter().collect())
    }
}

impl Source for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let now = self.engine.get(key)?;
        let before_images = self
            .before_images
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(before_images.values.get(key).cloned().unwrap_or(now))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, EngineError> {
        let (mut found, mut from) = (Vec::new(), after.map(<[u8]>::to_vec));
        while found.len() < limit {
            let pairs = self.engine.scan(prefix, from.as_deref(), limit)?;
            let last = (pairs.len() >= limit)
                .then(|| pairs.last().map(|(key, _)| key.clone()))
                .flatten();
            found.extend(self.apply_before_images(
                prefix,
                from.as_deref(),
                last.as_deref(),
                pairs,
            )?);
            match last {
                Some(last) => from = Some(last),
                None => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}
