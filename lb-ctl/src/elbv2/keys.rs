//! The keys that requests must be signed by, which may change while requests come.

use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{Access, AccessKey, ConfigErrors};

/// Keys, or none where nobody has to sign.
#[derive(Debug)]
pub struct Keys(RwLock<Option<Arc<[AccessKey]>>>);

impl Keys {
    /// Those of a configuration and of the file that it names.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn load(access: &Access) -> Result<Keys, ConfigErrors> {
        Ok(Keys(RwLock::new(access.keys()?.map(Arc::from))))
    }

    /// The keys now; `None`: nobody has to sign.
    pub(super) fn now(&self) -> Option<Arc<[AccessKey]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn renew(&self, newer: Keys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = newer.now();
    }
}
