//! Clients of the replicas, and an operator: each does at random what such a client does, and writes
//! down what it was told.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    super::{phones::Town, wire},
    record::{Ask, Event, Record, Tokens, Told},
};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// The longest time that a client waits between two requests.
const THINKING: Duration = Duration::from_millis(20);
/// People of each kind at a time.
const PEOPLE: usize = 6;
/// After so many logins another person comes: far below `auth.max_sessions`, so that no login ends a
/// session.
const LOGINS: usize = 60;
/// Sessions that a client holds at once.
const SESSIONS: usize = 4;

/// Where a replica is at present.
#[derive(Debug, Clone)]
pub struct Address {
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub admin_token: String,
}

/// What all clients share.
pub struct World<'a> {
    pub town: &'a Town,
    pub record: Record,
    pub addresses: Vec<RwLock<Address>>,
    pub is_over: AtomicBool,
    pub number: AtomicUsize,
}

/// A session that a client holds.
#[derive(Clone)]
struct Held {
    person: String,
    tokens: Tokens,
    /// The phone that the client has bound.
    phone: Option<String>,
}

/// A client, or the operator.
pub struct Client<'a> {
    pub world: &'a World<'a>,
    pub random: fastrand::Rng,
    held: Vec<Held>,
    /// Access tokens of sessions that have ended, or may have.
    ended: Vec<Tokens>,
}

/// Asks on a connection of its own; `None`: there was no whole answer.
fn exchange(to: SocketAddr, request: &[u8]) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    if status == 204 {
        return Some((status, Value::Null));
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        value.trim().parse().ok().filter(|_| is_length)
    });
    if length != Some(body.len()) {
        return None;
    }
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

fn told(answer: Option<(u16, Value)>) -> Told {
    match answer {
        None | Some((500.., _)) => Told::Unknown,
        Some((status @ 400.., body)) => {
            Told::Refused(status, body["code"].as_str().unwrap_or_default().to_owned())
        }
        Some((_, body)) => Tokens::read(&body).map_or(Told::Done, Told::Tokens),
    }
}

impl World<'_> {
    fn number(&self) -> usize {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks a replica, and writes down what was told.
    pub fn ask(&self, replica: usize, ask: Ask, code: &str) -> Told {
        let address = self.addresses[replica].read().expect("a lock").clone();
        let request = Request::new(&ask, code);
        let (to, bearer) = if request.is_operators {
            (address.admin, Some(address.admin_token.as_str()))
        } else {
            (address.http, request.bearer.as_deref())
        };
        let bearer = bearer.map(|token| format!("Bearer {token}"));
        let mut headers = vec![
            ("Content-Type", "application/json"),
            ("Connection", "close"),
        ];
        headers.extend(bearer.as_deref().map(|token| ("Authorization", token)));
        let body = match &request.body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let bytes = wire::request(request.method, &request.path, &headers, body.as_bytes());
        let began = self.record.now();
        let told = told(exchange(to, &bytes));
        self.record.add(Event {
            began,
            ended: self.record.now(),
            replica,
            ask,
            told: told.clone(),
        });
        told
    }
}

/// A request as it is sent.
struct Request {
    method: &'static str,
    path: String,
    bearer: Option<String>,
    is_operators: bool,
    body: Value,
}

impl Request {
    fn new(ask: &Ask, code: &str) -> Self {
        let post = |path: &str, bearer: Option<&String>, body: Value| Self {
            method: "POST",
            path: path.to_owned(),
            bearer: bearer.cloned(),
            is_operators: false,
            body,
        };
        let operate = |method, path: String| Self {
            method,
            path,
            bearer: None,
            is_operators: true,
            body: Value::Null,
        };
        match ask {
            Ask::Login { .. } => post("/auth/wechat/login", None, json!({ "code": code })),
            Ask::Refresh { refresh } => {
                post("/auth/refresh", None, json!({ "refresh_token": refresh }))
            }
            Ask::Call { access } => Self {
                method: "GET",
                ..post("/orders", Some(access), Value::Null)
            },
            Ask::Logout { access } => post("/auth/logout", Some(access), json!({})),
            Ask::Bind { access, .. } => {
                post("/auth/phone/wechat", Some(access), json!({ "code": code }))
            }
            Ask::SendCode { phone } => {
                let body = json!({ "phone": phone, "purpose": "login" });
                post("/auth/sms/send", None, body)
            }
            Ask::PhoneLogin { phone, .. } => {
                let body = json!({ "phone": phone, "code": code });
                post("/auth/sms/login", None, body)
            }
            Ask::Ban { user } => operate("POST", format!("/admin/users/{user}/ban")),
            Ask::Unban { user } => operate("POST", format!("/admin/users/{user}/unban")),
            Ask::Erase { user } => operate("DELETE", format!("/admin/users/{user}")),
        }
    }
}

impl<'a> Client<'a> {
    pub fn new(world: &'a World<'a>, seed: u64) -> Self {
        Self {
            world,
            random: fastrand::Rng::with_seed(seed),
            held: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn replica(&mut self) -> usize {
        self.random.usize(..self.world.addresses.len())
    }

    fn ask(&mut self, ask: Ask, code: &str) -> Told {
        let replica = self.replica();
        self.world.ask(replica, ask, code)
    }

    /// Asks two replicas for the same at once.
    fn ask_twice(&mut self, ask: &Ask, code: &str) -> [Told; 2] {
        let (world, one, other) = (self.world, self.replica(), self.replica());
        std::thread::scope(|scope| {
            let first = scope.spawn(|| world.ask(one, ask.clone(), code));
            let second = world.ask(other, ask.clone(), code);
            [first.join().expect("an answer"), second]
        })
    }

    fn think(&mut self) {
        std::thread::sleep(THINKING.mul_f64(self.random.f64()));
    }

    /// Lives until it is over; `logins` counts those of all clients.
    pub fn live(mut self, logins: &AtomicUsize) -> Self {
        while !self.world.is_over.load(Ordering::Relaxed) {
            match self.random.u8(..20) {
                0..4 => self.log_in(logins),
                4..10 => self.refresh(),
                10..14 => self.call(),
                14 | 15 => self.log_out(),
                16 => self.bind(),
                17 => self.log_in_by_phone(),
                _ => self.guess(),
            }
            self.think();
        }
        self
    }

    fn log_in(&mut self, logins: &AtomicUsize) {
        if self.held.len() >= SESSIONS {
            return self.log_out();
        }
        let kind = if self.random.bool() { 'w' } else { 'e' };
        let place = self.random.usize(..PEOPLE);
        let person = person(kind, place, logins);
        let code = format!("{person}-{}", self.world.number());
        let ask = Ask::Login {
            person: person.clone(),
            code: code.clone(),
        };
        let answers = if self.random.u8(..6) == 0 {
            self.ask_twice(&ask, &code).to_vec()
        } else {
            vec![self.ask(ask, &code)]
        };
        if let Some(tokens) = answers.iter().find_map(Told::tokens) {
            self.hold(person, tokens.clone(), None);
        }
    }

    fn hold(&mut self, person: String, tokens: Tokens, phone: Option<String>) {
        self.held.push(Held {
            person,
            tokens,
            phone,
        });
    }

    /// The place of a session among those that are held.
    fn any(&mut self) -> Option<usize> {
        (!self.held.is_empty()).then(|| self.random.usize(..self.held.len()))
    }

    fn refresh(&mut self) {
        let Some(at) = self.any() else { return };
        let ask = Ask::Refresh {
            refresh: self.held[at].tokens.refresh.clone(),
        };
        let answers = if self.random.u8(..6) == 0 {
            self.ask_twice(&ask, "").to_vec()
        } else {
            vec![self.ask(ask, "")]
        };
        // What is unknown is asked again later, with the same token.
        if let Some(tokens) = answers.iter().find_map(Told::tokens) {
            self.held[at].tokens = tokens.clone();
        } else if answers
            .iter()
            .any(|told| matches!(told, Told::Refused(401 | 403, _)))
        {
            self.forget(at);
        }
    }

    /// Goes on with the tokens of a session as those of one that has ended.
    fn forget(&mut self, at: usize) {
        const REMEMBERED: usize = 8;
        let held = self.held.swap_remove(at);
        self.ended.push(held.tokens);
        if self.ended.len() > REMEMBERED {
            self.ended.remove(0);
        }
    }

    fn call(&mut self) {
        let tokens = if self.random.bool() || self.ended.is_empty() {
            let Some(at) = self.any() else { return };
            self.held[at].tokens.clone()
        } else {
            let at = self.random.usize(..self.ended.len());
            self.ended[at].clone()
        };
        self.ask(
            Ask::Call {
                access: tokens.access,
            },
            "",
        );
    }

    fn log_out(&mut self) {
        let Some(at) = self.any() else { return };
        let tokens = self.held[at].tokens.clone();
        let ask = Ask::Logout {
            access: tokens.access.clone(),
        };
        let told = self.ask(ask, "");
        self.forget(at);
        // A session that has ended stays so, at every replica.
        if told == Told::Done && self.random.bool() {
            self.ask(
                Ask::Refresh {
                    refresh: tokens.refresh,
                },
                "",
            );
        }
    }

    fn bind(&mut self) {
        let Some(at) = self.any() else { return };
        let held = self.held[at].clone();
        if held.phone.is_some() || !held.person.starts_with('w') {
            return;
        }
        let phone = phone_of(&held.person);
        let code = format!("phone.{}-{}", &phone[3..], self.world.number());
        let ask = Ask::Bind {
            access: held.tokens.access,
            phone: phone.clone(),
        };
        if self.ask(ask, &code) == Told::Done {
            self.held[at].phone = Some(phone);
        }
    }

    /// Signs in by the phone of a user who has bound it.
    fn log_in_by_phone(&mut self) {
        let bound = self.held.iter().find(|held| held.phone.is_some()).cloned();
        let Some(Held {
            person,
            phone: Some(phone),
            ..
        }) = bound
        else {
            return;
        };
        if self.held.len() >= SESSIONS {
            return;
        }
        if let Some(tokens) = self.log_in_with_code(&phone) {
            self.hold(person, tokens, Some(phone));
        }
    }

    fn log_in_with_code(&mut self, phone: &str) -> Option<Tokens> {
        let send = Ask::SendCode {
            phone: phone.to_owned(),
        };
        if self.ask(send, "") != Told::Done {
            return None;
        }
        let code = self.world.town.sms.code_on(phone)?;
        let ask = Ask::PhoneLogin {
            phone: phone.to_owned(),
            is_right: true,
        };
        self.ask(ask, &code).tokens().cloned()
    }

    /// Guesses at the code of a new phone, then enters the right one, perhaps at two replicas at once.
    fn guess(&mut self) {
        let phone = format!("+86139{:08}", self.world.number());
        let send = Ask::SendCode {
            phone: phone.clone(),
        };
        if self.ask(send, "") != Told::Done {
            return;
        }
        let Some(code) = self.world.town.sms.code_on(&phone) else {
            return;
        };
        let right: u32 = code.parse().expect("digits");
        let ask = |is_right| Ask::PhoneLogin {
            phone: phone.clone(),
            is_right,
        };
        for guess in 0..self.random.u32(..8) {
            let wrong = format!("{:06}", (right + 1 + guess) % 1_000_000);
            if self.random.bool() {
                self.ask_twice(&ask(false), &wrong);
            } else {
                self.ask(ask(false), &wrong);
            }
        }
        if self.random.u8(..4) == 0 {
            self.ask_twice(&ask(true), &code);
        } else {
            self.ask(ask(true), &code);
        }
    }

    /// Bans, lets in again and erases users who have signed in, until it is over.
    pub fn operate(mut self) {
        while !self.world.is_over.load(Ordering::Relaxed) {
            std::thread::sleep(10 * THINKING.mul_f64(self.random.f64()));
            let Some((person, user)) = self.someone() else {
                continue;
            };
            match self.random.u8(..3) {
                0 if person.starts_with('e') => {
                    self.ask(Ask::Erase { user }, "");
                }
                0 => {}
                _ => {
                    self.ask(Ask::Ban { user: user.clone() }, "");
                    std::thread::sleep(10 * THINKING.mul_f64(self.random.f64()));
                    self.ask(Ask::Unban { user }, "");
                }
            }
        }
    }

    /// One of the people who signed in last.
    fn someone(&mut self) -> Option<(String, String)> {
        let events = self.world.record.events();
        let login = |event: &Event| match (&event.ask, &event.told) {
            (Ask::Login { person, .. }, Told::Tokens(tokens)) => {
                Some((person.clone(), tokens.user.clone()))
            }
            _ => None,
        };
        let recent: Vec<_> = events.iter().rev().take(400).filter_map(login).collect();
        drop(events);
        self.random.choice(recent)
    }

    /// When nothing is disturbed any more: each session goes on, and each phone leads to its user.
    pub fn end(mut self) {
        for held in std::mem::take(&mut self.held) {
            let refresh = Ask::Refresh {
                refresh: held.tokens.refresh.clone(),
            };
            let told = self.ask(refresh, "");
            assert_ne!(told, Told::Unknown, "the replicas do not go on");
            let access = told
                .tokens()
                .map_or(held.tokens.access, |new| new.access.clone());
            for replica in 0..self.world.addresses.len() {
                let access = access.clone();
                self.world.ask(replica, Ask::Call { access }, "");
            }
            if let Some(phone) = held.phone {
                self.log_in_with_code(&phone);
            }
        }
        for tokens in std::mem::take(&mut self.ended) {
            let refresh = tokens.refresh.clone();
            self.ask(Ask::Refresh { refresh }, "");
            for replica in 0..self.world.addresses.len() {
                let access = tokens.access.clone();
                self.world.ask(replica, Ask::Call { access }, "");
            }
        }
    }
}

/// The person at a place: another one after some logins.
fn person(kind: char, place: usize, logins: &AtomicUsize) -> String {
    let turn = logins.fetch_add(1, Ordering::Relaxed) / (LOGINS * PEOPLE);
    format!("{kind}{place}x{turn}")
}

/// A person's phone: the kind and the numbers of the name.
fn phone_of(person: &str) -> String {
    let numbers = person[1..].split('x').map(str::parse::<usize>);
    let numbers: Vec<_> = numbers.map(|number| number.expect("a number")).collect();
    format!("+86138{:04}{:04}", numbers[0], numbers[1])
}
