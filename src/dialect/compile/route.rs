//! Compiles one route: the locations of its inputs, the checks on them, and its response.

use std::collections::BTreeMap;

use http::{Method, StatusCode, header};

use super::{Compiler, has_no_body, is_plain};
use crate::{
    config::{DialectAction, DialectRoute, ProfileOfLogin, nearest},
    dialect::{
        action,
        definition::Route,
        input::{Check, InputLocation, InputLocations},
        template::Template,
    },
};

const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

impl Compiler<'_> {
    pub(super) fn route(
        &mut self,
        route: &DialectRoute,
        number: usize,
        prefix: &str,
        key: &str,
    ) -> Option<Route> {
        let method = METHODS
            .into_iter()
            .find(|known| known.as_str() == route.method);
        if method.is_none() {
            self.add(
                &format!("{key}.method"),
                format!(
                    "{:?} is none of GET, POST, PUT, PATCH, DELETE",
                    route.method
                ),
            );
        }
        if !is_plain(&route.path) {
            let says = format!(
                "{:?} is not a plain path: write it like /auth/login, of letters, digits, -, _ and .",
                route.path
            );
            self.add(&format!("{key}.path"), says);
        }
        let inputs = self.inputs(route, key);
        let mut checks = Vec::new();
        for (n, check) in route.check.iter().enumerate() {
            let key = format!("{key}.check[{n}]");
            if !route.inputs.contains_key(&check.input) {
                self.add(
                    &format!("{key}.input"),
                    format!("{:?} is not an input of this route", check.input),
                );
            }
            match Check::compile(check) {
                Ok(check) => checks.push(check),
                Err((part, message)) => self.add(&format!("{key}.{part}"), message),
            }
        }
        if route.profile.is_some() && route.action != DialectAction::WechatLogin {
            self.add(&format!("{key}.profile"), "is for `wechat_login` only");
        }
        if route.rotate.is_some() && route.action != DialectAction::Refresh {
            self.add(&format!("{key}.rotate"), "is for `refresh` only");
        }
        let status = self.status(route.status, 200..=299, &format!("{key}.status"));
        let allowed = action::placeholders(route.action);
        let body = route.body.as_deref();
        let body = body.and_then(|body| {
            self.or_problem(&format!("{key}.body"), Template::parse(body, allowed))
        });
        if body.is_some() && status.is_some_and(has_no_body) {
            self.add(
                &format!("{key}.body"),
                "cannot go with this `status`, which has no body",
            );
        }
        let headers = self.headers(&route.headers, allowed, key);
        let errors = self.errors(&route.error, key);
        Some(Route {
            method: method?,
            path: format!("{prefix}{}", route.path),
            action: route.action,
            inputs,
            checks,
            replaces_profile: route.profile == Some(ProfileOfLogin::Replace),
            rotates: route.rotate.unwrap_or(true),
            number,
            status: status.unwrap_or(StatusCode::OK),
            headers,
            body,
            errors,
        })
    }

    fn inputs(&mut self, route: &DialectRoute, key: &str) -> BTreeMap<String, InputLocations> {
        let known = action::inputs(route.action);
        let names: Vec<_> = known
            .required
            .iter()
            .chain(known.optional)
            .map(|name| (*name).to_owned())
            .collect();
        let mut inputs = BTreeMap::new();
        for (name, text) in &route.inputs {
            let key = format!("{key}.inputs.{name}");
            if !names.contains(name) {
                let says = match nearest(name, &names) {
                    Some(near) => format!("is not an input of this action; did you mean `{near}`?"),
                    None => format!(
                        "is not an input of this action; there are {}",
                        names.join(", ")
                    ),
                };
                self.add(&key, says);
            }
            let locations = InputLocations::parse(text).map_err(|says| format!("{text:?} {says}"));
            inputs.extend(
                self.or_problem(&key, locations)
                    .map(|locations| (name.clone(), locations)),
            );
        }
        for missing in known
            .required
            .iter()
            .filter(|name| !route.inputs.contains_key(**name))
        {
            self.add(
                &format!("{key}.inputs"),
                format!("does not have `{missing}`, which this action needs"),
            );
        }
        let has = |name: &str| route.inputs.contains_key(name);
        let is_header = |location: &InputLocation| matches!(location, InputLocation::Header(name) if name == header::AUTHORIZATION);
        if inputs
            .get(action::ACCESS_TOKEN)
            .is_some_and(|locations| locations.iter().any(is_header))
        {
            self.add(
                &format!("{key}.inputs.{}", action::ACCESS_TOKEN),
                "is looked for there anyway: leave it out",
            );
        }
        if route.method == "GET"
            && inputs
                .values()
                .flat_map(InputLocations::iter)
                .any(InputLocation::is_in_body)
        {
            self.add(
                &format!("{key}.inputs"),
                "are in the body, and a GET has none",
            );
        }
        let encrypted = has("encrypted_data") || has("iv");
        if encrypted && !(has("encrypted_data") && has("iv")) {
            self.add(
                &format!("{key}.inputs"),
                "has one of `encrypted_data` and `iv`, which go together",
            );
        }
        if encrypted && !self.config.wechat.legacy_decrypt {
            self.add(
                key,
                "decrypts phone numbers: set `legacy_decrypt = true` in [wechat]",
            );
        }
        if route.action == DialectAction::PhoneWechat {
            if !encrypted && !has("code") {
                self.add(
                    &format!("{key}.inputs"),
                    "has neither `code` nor `encrypted_data` and `iv`: one of them is the phone",
                );
            }
            if has("openid") && !has("session_handle") {
                self.add(
                    &format!("{key}.inputs.openid"),
                    "is compared with the session of `session_handle`, which is not an input",
                );
            }
        }
        inputs
    }
}
