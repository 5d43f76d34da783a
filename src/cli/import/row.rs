//! One row: how it is read, its values, and what can be wrong with it.

use std::collections::BTreeMap;

use super::{field::Field, format::RowFormat, time::parse_time};
use crate::admin::import::ImportRow;

/// How to read a file.
#[derive(Debug)]
pub(super) struct RowOptions {
    pub(super) format: RowFormat,
    /// The app id of openids that come without.
    pub(super) app_id: Option<String>,
    pub(super) columns: Vec<(Field, String)>,
    pub(super) ignore_others: bool,
    /// Seconds east of UTC, of times that say no zone.
    pub(super) utc_offset: i32,
}

impl RowOptions {
    /// The field that a column stands for.
    pub(super) fn field_of(&self, column: &str) -> Option<Field> {
        let renamed = self
            .columns
            .iter()
            .find(|(_, name)| name == column)
            .map(|(field, _)| *field);
        let is_elsewhere = |field: &Field| self.columns.iter().any(|(renamed, _)| renamed == field);
        renamed.or_else(|| {
            Field::named(&column.to_ascii_lowercase()).filter(|field| !is_elsewhere(field))
        })
    }
}

/// An error of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowError {
    pub(super) field: Option<&'static str>,
    pub(super) message: String,
}

/// The values of one row.
#[derive(Default)]
pub(super) struct Values {
    pub(super) texts: BTreeMap<Field, String>,
    pub(super) openids: Vec<(String, String)>,
}

impl Values {
    pub(super) fn set(&mut self, field: Field, text: String) {
        self.texts.insert(field, text);
    }

    fn take(&mut self, field: Field) -> Option<String> {
        self.texts.remove(&field).map(|text| text.trim().to_owned())
    }

    pub(super) fn into_row(mut self, options: &RowOptions) -> Result<ImportRow, RowError> {
        let id = self
            .take(Field::Id)
            .ok_or_else(|| RowError::field("id", "is missing"))?;
        let app_id = self.take(Field::AppId).or_else(|| options.app_id.clone());
        let mut openids = std::mem::take(&mut self.openids);
        if let Some(openid) = self.take(Field::OpenId) {
            let message = "is missing, and the config does not have exactly one mini program (or give --app-id)";
            openids.push((
                app_id.ok_or_else(|| RowError::field("app_id", message))?,
                openid,
            ));
        }
        let created_at = self
            .take(Field::CreatedAt)
            .map(|text| parse_time(&text, options.utc_offset))
            .transpose();
        let roles = self.take(Field::Roles).unwrap_or_default();
        Ok(ImportRow {
            id,
            openids,
            unionid: self.take(Field::UnionId),
            phone: self.take(Field::Phone),
            nickname: self.take(Field::Nickname),
            avatar_url: self.take(Field::AvatarUrl),
            user_type: self.take(Field::UserType),
            roles: roles
                .split(',')
                .map(str::trim)
                .filter(|role| !role.is_empty())
                .map(str::to_owned)
                .collect(),
            created_at: created_at.map_err(|message| RowError::field("created_at", message))?,
        })
    }
}

impl RowError {
    pub(super) fn row(message: impl Into<String>) -> Self {
        Self {
            field: None,
            message: message.into(),
        }
    }

    pub(super) fn field(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field: Some(field),
            message: message.into(),
        }
    }
}
