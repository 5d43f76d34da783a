//! The mini program: what it keeps between two steps.

use super::session::DemoSession;
use crate::dev::sms::SentMessage;

/// A mini program on the phone of one person.
pub(super) struct MiniProgram {
    /// The person at the simulated WeChat.
    person: &'static str,
    /// The phone number as she types it, 11 digits. It is assigned to no person.
    pub(super) number: &'static str,
    logins: usize,
    phone_codes: usize,
    /// The id that the first login gave.
    pub(super) user_id: Option<String>,
    pub(super) session: Option<DemoSession>,
    /// The access token of a session that has ended.
    pub(super) old_token: Option<String>,
    /// Her number with its middle masked, once it is bound.
    pub(super) phone: Option<String>,
    /// The text message with a code that is not used yet.
    pub(super) message: Option<SentMessage>,
    /// What she types for the code; `None`: what the message says.
    pub(super) typed_code: Option<String>,
}

impl MiniProgram {
    /// That of the tour.
    pub(super) const fn of_the_tour() -> Self {
        Self::new("alice", "13800138000")
    }

    /// That of the page. At WeChat its Alice is another one than that of the tour.
    pub(super) const fn of_the_page() -> Self {
        Self::new("alice-of-the-page", "13900139000")
    }

    const fn new(person: &'static str, number: &'static str) -> Self {
        Self {
            person,
            number,
            logins: 0,
            phone_codes: 0,
            user_id: None,
            session: None,
            old_token: None,
            phone: None,
            message: None,
            typed_code: None,
        }
    }

    /// The code that `wx.login` gives next.
    pub(super) fn next_login_code(&mut self) -> String {
        self.logins += 1;
        format!("{}-{}", self.person, self.logins)
    }

    /// The code that the phone number button gives next.
    pub(super) fn next_phone_code(&mut self) -> String {
        self.phone_codes += 1;
        format!("phone.{}-{}", self.number, self.phone_codes)
    }

    /// Her number in E.164 form.
    pub(super) fn e164(&self) -> String {
        format!("+86{}", self.number)
    }

    /// Her number as people write it.
    pub(super) fn spaced_number(&self) -> String {
        let (area, rest) = self.number.split_at(3);
        let (middle, end) = rest.split_at(4);
        format!("+86 {area} {middle} {end}")
    }
}
