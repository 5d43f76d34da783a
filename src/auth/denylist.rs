//! Stand-in, dropped at merge.
use std::{collections::HashSet, sync::Mutex};

use crate::{
    store::{RevocationEntry, RevocationTarget},
    token::AccessClaims,
    types::{SessionId, UserId},
};

#[derive(Debug, Default)]
pub struct Denylist(Mutex<(HashSet<SessionId>, Vec<(UserId, u64)>, u64)>);
impl Denylist {
    pub fn apply(&self, entry: &RevocationEntry) {
        let mut held = self.0.lock().expect("lock");
        match &entry.target {
            RevocationTarget::Session(id) => {
                held.0.insert(*id);
            }
            RevocationTarget::User { id, epoch } => held.1.push((id.clone(), *epoch)),
            RevocationTarget::Everything { epoch } => held.2 = *epoch,
        }
    }
    pub fn refuses(&self, claims: &AccessClaims) -> bool {
        let held = self.0.lock().expect("lock");
        held.0.contains(&claims.sid) || held.1.iter().any(|(u, e)| *u == claims.sub && claims.ep < *e) || claims.gep < held.2
    }
}
