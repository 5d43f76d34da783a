//! What clients ask of the store, chosen at random: few people, few phones, few codes, so that calls
//! meet.

use std::time::Duration;

use crate::{
    store::{
        BindOutcome, CodeHash, GuessId, LoginOutcome, LoginProof, NewAccount, NewLogin, NewUserId,
        OutboxPolicy, OutboxReceipt, PasswordHash, PhoneBinding, PhoneProof, ProfileChange,
        Renewal, RenewalProof, ReplicaFacts, ReplicaId, RevocationEntry, RevocationScope,
        RightsChange, Rotation, RotationOutcome, SmsGuess, SmsId, SmsLimits, SmsRefund,
        SmsReservation, Store, StoreError, TokenCheck, UserIdentity, Withdrawal, WithdrawalOutcome,
        WithdrawalScope,
        fixture::{login_of, wechat_of},
    },
    types::{Phone, Secret, SessionId, SmsPurpose, Timestamp, UnionId, UserId, UserType, Username},
};

const PEOPLE: u8 = 3;
const PHONES: u8 = 2;
const SMS_CODES: u8 = 2;
/// Who posts login codes twice.
const CLIENT: CodeHash = CodeHash([9; 32]);
/// How long a process has the upkeep, or an event to deliver: so short that others come.
const LEASE: Duration = Duration::from_millis(500);
const CODE_TTL: Duration = Duration::from_mins(5);

/// Messages of a day where they are few.
pub(super) const SCARCE_MESSAGES: u64 = 12;

/// What clients of a history do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// A bit of everything. New users have ids that clients make, or integers.
    Everything { integers: bool },
    /// They ask for messages, of which there are few in all.
    Messages,
    /// They sign in, and processes do what they do for themselves: the lease on upkeep, heartbeats,
    /// events for the backend.
    Processes,
}

impl Theme {
    pub(super) fn random(random: &mut fastrand::Rng) -> Self {
        match random.u8(..16) {
            0 => Self::Messages,
            1 => Self::Processes,
            2.. => Self::Everything {
                integers: random.u8(..4) == 0,
            },
        }
    }
}

/// One call of the store; all that it needs was decided beforehand.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Login(Box<NewLogin>),
    CodeUsed(CodeHash, Timestamp),
    ReserveSms(SmsReservation),
    ReleaseSms(Phone, SmsId, SmsRefund, Timestamp),
    BindPhone(Box<PhoneBinding>),
    UnbindPhone(UserId, SessionId, Timestamp),
    ProvePhone(UserId, SmsGuess, Timestamp),
    WechatSession(UserId, SessionId, Timestamp),
    LookupUser(UserId),
    FindUser(UserIdentity),
    CreateAccount(NewAccount),
    ChangeRights(UserId, RightsChange, Timestamp),
    EraseUser(UserId, Option<SessionId>, Timestamp),
    UpdateProfile(UserId, ProfileChange, Timestamp),
    Withdraw(Withdrawal, Timestamp),
    Session(UserId, SessionId, Timestamp),
    Sessions(UserId, Timestamp),
    Rotate(Rotation),
    Renew(Renewal),
    Revoke(RevocationScope, Timestamp),
    Maintenance(Maintenance),
}

/// Work that changes nothing that a client could see, so that it is not made once more.
#[derive(Debug, Clone)]
pub(super) enum Maintenance {
    Sweep(Timestamp),
    RotateStoreKey,
    Reencrypt,
    Heartbeat(ReplicaId),
    HoldLease(ReplicaId),
    ReleaseLease(ReplicaId),
    TakeEvents(Timestamp),
    /// Whether it is delivered, or due again at once.
    Acknowledge(TakenEvent, bool),
}

/// An event for the backend that was taken: its id, and what it is acknowledged by.
#[derive(Debug, Clone)]
pub(super) struct TakenEvent {
    pub(super) id: String,
    receipt: OutboxReceipt,
}

/// What a client was told.
#[derive(Debug, Clone)]
pub(super) struct Response {
    /// The outcome; equal texts are equal outcomes.
    pub(super) text: String,
    /// What is revoked from then on.
    pub(super) entries: Vec<RevocationEntry>,
    /// The refresh token that the client holds now: user, session, counter.
    pub(super) token: Option<(UserId, SessionId, u64)>,
    /// Events that were taken.
    pub(super) events: Vec<TakenEvent>,
}

/// A number of something, for ids that have to differ.
type Number = u64;

/// What clients know.
#[derive(Debug, Default)]
pub(super) struct Known {
    next: Number,
    tokens: Vec<(UserId, SessionId, u64)>,
    messages: Vec<(Phone, SmsId)>,
    events: Vec<TakenEvent>,
}

impl Known {
    fn number(&mut self) -> Number {
        self.next += 1;
        self.next
    }

    /// Takes in what a client was told.
    pub(super) fn note(&mut self, response: &Response) {
        self.tokens.extend(response.token.clone());
        self.events.extend(response.events.iter().cloned());
    }

    fn token(&self, random: &mut fastrand::Rng) -> Option<(UserId, SessionId, u64)> {
        // Mostly a young one.
        let farthest = 1 + random.usize(..6);
        let back = random.usize(..farthest);
        let at = self.tokens.len().checked_sub(1 + back)?;
        self.tokens.get(at).cloned()
    }

    fn user(&self, random: &mut fastrand::Rng) -> UserId {
        let known = self.token(random).map(|(user, _, _)| user);
        known.unwrap_or_else(|| UserId::parse("u1").expect("an id"))
    }
}

fn phone(random: &mut fastrand::Rng) -> Phone {
    let number = random.u8(..PHONES);
    Phone::from_parts("86", &format!("1380013800{number}")).expect("a phone")
}

fn code(random: &mut fastrand::Rng) -> CodeHash {
    CodeHash([random.u8(..SMS_CODES); 32])
}

fn guess(known: &mut Known, random: &mut fastrand::Rng) -> SmsGuess {
    SmsGuess {
        id: GuessId(known.number().into()),
        phone: phone(random),
        purpose: SmsPurpose::Login,
        code: code(random),
        max_attempts: 3,
    }
}

fn login(known: &mut Known, random: &mut fastrand::Rng, now: Timestamp) -> NewLogin {
    let person = random.u8(..PEOPLE);
    let number = known.number();
    let mut login = login_of(&format!("person-{person}"), number.into());
    login.now = now;
    login.max_sessions = 3;
    login.merge = random.bool();
    login.single_per_client_type = random.u8(..8) == 0;
    login.outbox = OutboxPolicy {
        created: true,
        deleted: true,
        merged: true,
        withdrawn: true,
    };
    login.registration_open = random.u8(..8) != 0;
    match random.u8(..4) {
        0 => login.proof = LoginProof::Sms(guess(known, random)),
        1 => {
            // Two of the people are one at WeChat.
            let union = UnionId::parse(&format!("union-{}", person / 2)).expect("a unionid");
            wechat_of(&mut login).unionid = Some(union);
        }
        _ => {}
    }
    if random.bool() && !matches!(login.proof, LoginProof::Sms(_)) {
        // A code that comes again names the same session, as it would.
        let code = random.u8(..8);
        login.code = Some((CodeHash([code; 32]), now.plus(CODE_TTL)));
        login.session.id = SessionId::from_bits(1_000_000 + u128::from(code));
        login.code_client = random.bool().then_some(CLIENT);
    }
    login
}

fn reservation(known: &mut Known, random: &mut fastrand::Rng, now: Timestamp) -> SmsReservation {
    let message = SmsReservation {
        id: SmsId(known.number().into()),
        phone: phone(random),
        purpose: SmsPurpose::Login,
        code: code(random),
        limits: SmsLimits {
            code_ttl: CODE_TTL,
            resend_after: Duration::from_secs(2),
            per_phone_hour: 5,
            per_phone_day: 10,
            daily_budget: 100_000,
            max_attempts: 3,
        },
        is_test: false,
        now,
    };
    known.messages.push((message.phone.clone(), message.id));
    message
}

/// A message to a phone of its own, out of the few that there are.
fn scarce_reservation(
    known: &mut Known,
    random: &mut fastrand::Rng,
    now: Timestamp,
) -> SmsReservation {
    let phone = Phone::from_parts("86", &format!("139{:08}", known.number()));
    let mut message = reservation(known, random, now);
    message.phone = phone.expect("a phone");
    message.limits.daily_budget = SCARCE_MESSAGES;
    message
}

fn binding(known: &mut Known, random: &mut fastrand::Rng, now: Timestamp) -> Option<PhoneBinding> {
    let (user, session, _) = known.token(random)?;
    let number = known.number();
    Some(PhoneBinding {
        user,
        session,
        proof: if random.bool() {
            PhoneProof::Wechat(phone(random))
        } else {
            PhoneProof::Sms(guess(known, random))
        },
        merge: random
            .bool()
            .then(|| login_of("nobody", number.into()).session),
        single_per_client_type: false,
        outbox: OutboxPolicy::default(),
        now,
    })
}

fn withdrawal(known: &mut Known, random: &mut fastrand::Rng, now: Timestamp) -> Withdrawal {
    let mut login = login_of(&format!("person-{}", random.u8(..PEOPLE)), 0);
    let identity = wechat_of(&mut login);
    Withdrawal {
        app_id: identity.app_id.clone(),
        openid: identity.openid.clone(),
        scope: if random.bool() {
            WithdrawalScope::Account
        } else {
            WithdrawalScope::Data {
                profile: true,
                phone: random.bool(),
                kinds: vec![1],
                key: known.number().to_string(),
            }
        },
        account_created_until: now,
        notice: (CodeHash([random.u8(..4); 32]), now.plus(CODE_TTL)),
    }
}

fn scope(known: &Known, random: &mut fastrand::Rng) -> Option<RevocationScope> {
    let (user, session, _) = known.token(random)?;
    Some(match random.u8(..8) {
        0..4 => RevocationScope::Session { user, session },
        4..6 => RevocationScope::Others {
            user,
            keep: session,
        },
        6 => RevocationScope::User(user),
        7.. => RevocationScope::Everything,
    })
}

fn rights(random: &mut fastrand::Rng) -> RightsChange {
    match random.u8(..4) {
        0 => RightsChange::Ban,
        1 | 2 => RightsChange::Unban,
        3.. => RightsChange::UserType(UserType::user()),
    }
}

impl Call {
    /// A call of a client that knows this, at this time of the replica's clock.
    pub(super) fn random(
        theme: Theme,
        known: &mut Known,
        random: &mut fastrand::Rng,
        now: Timestamp,
    ) -> Self {
        let integers = match theme {
            Theme::Everything { integers } => integers,
            Theme::Messages => return Self::ReserveSms(scarce_reservation(known, random, now)),
            Theme::Processes => return Self::process(known, random, now),
        };
        loop {
            let Some(mut call) = Self::choose(known, random, now) else {
                continue;
            };
            if let (Self::Login(login), true) = (&mut call, integers) {
                login.new_user = NewUserId::NextInteger { first: 1 };
            }
            return call;
        }
    }

    /// Ends the tokens of a user, if one is known.
    pub(super) fn revocation(
        known: &Known,
        random: &mut fastrand::Rng,
        now: Timestamp,
    ) -> Option<Self> {
        let (user, _, _) = known.token(random)?;
        Some(Self::Revoke(RevocationScope::User(user), now))
    }

    /// The same for a store of one process: it gives a new user the id that was given, and leaves
    /// no messages to other processes.
    pub(super) fn for_one_process(&self, given: Option<&UserId>) -> Self {
        let mut call = self.clone();
        match &mut call {
            Self::Login(login) if matches!(login.new_user, NewUserId::NextInteger { .. }) => {
                let unused = || UserId::parse("unused").expect("an id");
                login.new_user = NewUserId::Generated(given.cloned().unwrap_or_else(unused));
            }
            Self::ReserveSms(message) => message.limits.daily_budget = u64::MAX,
            _ => {}
        }
        call
    }

    fn process(known: &mut Known, random: &mut fastrand::Rng, now: Timestamp) -> Self {
        let replica = ReplicaId(random.u128(..2));
        Self::Maintenance(match random.u8(..12) {
            0..4 => return Self::Login(Box::new(login(known, random, now))),
            4..6 => Maintenance::TakeEvents(now),
            6..8 => match random.choice(&known.events) {
                Some(event) => Maintenance::Acknowledge(event.clone(), random.u8(..4) > 0),
                None => Maintenance::TakeEvents(now),
            },
            8 => Maintenance::HoldLease(replica),
            9 => Maintenance::ReleaseLease(replica),
            10 => Maintenance::Heartbeat(replica),
            11.. => Maintenance::Sweep(now),
        })
    }

    fn choose(known: &mut Known, random: &mut fastrand::Rng, now: Timestamp) -> Option<Self> {
        Some(match random.u8(..40) {
            0..9 => Self::Login(Box::new(login(known, random, now))),
            9..15 => {
                let (user, session, counter) = known.token(random)?;
                Self::Rotate(Rotation {
                    user,
                    session,
                    counter,
                    check: TokenCheck::new(|_| true),
                    replay_window: Some(Duration::from_secs(10)),
                    idle_ttl: Duration::from_hours(1),
                    now,
                })
            }
            15 => {
                let (user, session, _) = known.token(random)?;
                Self::Renew(Renewal {
                    user,
                    session,
                    proof: RenewalProof::AccessToken,
                    idle_ttl: Duration::from_hours(1),
                    now,
                })
            }
            16..20 => Self::Revoke(scope(known, random)?, now),
            20..23 => Self::ReserveSms(reservation(known, random, now)),
            23 => {
                let (phone, id) = random.choice(&known.messages)?.clone();
                Self::ReleaseSms(phone, id, SmsRefund::All, now)
            }
            24 | 25 => {
                let user = known.user(random);
                Self::ProvePhone(user, guess(known, random), now)
            }
            26..29 => Self::BindPhone(Box::new(binding(known, random, now)?)),
            29 => {
                let (user, session, _) = known.token(random)?;
                Self::UnbindPhone(user, session, now)
            }
            30 => Self::ChangeRights(known.user(random), rights(random), now),
            31 => {
                let (user, session, _) = known.token(random)?;
                Self::EraseUser(user, random.bool().then_some(session), now)
            }
            32 => Self::Withdraw(withdrawal(known, random, now), now),
            33 => {
                let change = ProfileChange {
                    nickname: Some(Some(known.number().to_string())),
                    ..ProfileChange::default()
                };
                Self::UpdateProfile(known.user(random), change, now)
            }
            34 => Self::CreateAccount(NewAccount {
                new_user: NewUserId::Generated(
                    UserId::parse(&format!("a{}", known.number())).expect("an id"),
                ),
                username: Username::parse(&format!("admin{}", random.u8(..2))).expect("a name"),
                password: PasswordHash(Secret::new("$argon2id$v=19$".to_owned())),
                user_type: UserType::user(),
                now,
            }),
            35..38 => Self::look(known, random, now)?,
            38.. => Self::Maintenance(match random.u8(..6) {
                0 => Maintenance::RotateStoreKey,
                1..4 => Maintenance::Reencrypt,
                4.. => Maintenance::Sweep(now),
            }),
        })
    }

    fn look(known: &Known, random: &mut fastrand::Rng, now: Timestamp) -> Option<Self> {
        let (user, session, _) = known.token(random)?;
        Some(match random.u8(..6) {
            0 => Self::LookupUser(user),
            1 => Self::FindUser(UserIdentity::Phone(phone(random))),
            2 => Self::Session(user, session, now),
            3 => Self::Sessions(user, now),
            4 => Self::WechatSession(user, session, now),
            5.. => Self::CodeUsed(CodeHash([random.u8(..8); 32]), now),
        })
    }

    /// What all there is looks like at the end.
    pub(super) fn inventory(known: &Known, now: Timestamp) -> Vec<Self> {
        let mut users: Vec<_> = known.tokens.iter().map(|(user, _, _)| user).collect();
        users.sort_unstable();
        users.dedup();
        let mut calls = Vec::new();
        for user in users {
            calls.push(Self::LookupUser(user.clone()));
            calls.push(Self::Sessions(user.clone(), now));
        }
        for number in 0..PEOPLE {
            let mut login = login_of(&format!("person-{number}"), 0);
            let identity = wechat_of(&mut login);
            calls.push(Self::FindUser(UserIdentity::OpenId(
                identity.app_id.clone(),
                identity.openid.clone(),
            )));
        }
        for number in 0..PHONES {
            let phone = Phone::from_parts("86", &format!("1380013800{number}"));
            calls.push(Self::FindUser(UserIdentity::Phone(phone.expect("a phone"))));
        }
        calls
    }

    /// Makes the call.
    pub(super) async fn make(&self, store: &dyn Store) -> Result<Response, StoreError> {
        let mut entries = Vec::new();
        let mut token = None;
        let mut events = Vec::new();
        let policy = OutboxPolicy::default();
        let text = match self {
            Self::Login(login) => {
                let outcome = store.login(login).await?;
                if let LoginOutcome::Opened(opened) = &outcome {
                    let session = &opened.session;
                    token = Some((session.user.clone(), session.id, session.counter));
                    let merged = opened.merged.iter();
                    entries.extend(merged.flat_map(|(_, revoked)| revoked.entries.clone()));
                }
                format!("{outcome:?}")
            }
            Self::CodeUsed(code, now) => {
                let found = store.code_use(code, Some(&CLIENT), *now).await?;
                format!("{found:?}")
            }
            Self::ReserveSms(message) => format!("{:?}", store.reserve_sms(message).await?),
            Self::ReleaseSms(phone, id, slots, now) => {
                format!("{:?}", store.release_sms(phone, *id, *slots, *now).await?)
            }
            Self::BindPhone(binding) => {
                let outcome = store.bind_phone(binding).await?;
                if let BindOutcome::Merged(merged) = &outcome {
                    entries.extend(merged.revoked.entries.clone());
                    if let Some(session) = &merged.session {
                        token = Some((session.user.clone(), session.id, session.counter));
                    }
                }
                format!("{outcome:?}")
            }
            Self::UnbindPhone(user, session, now) => {
                format!("{:?}", store.unbind_phone(user, *session, *now).await?)
            }
            Self::ProvePhone(user, guess, now) => {
                format!("{:?}", store.prove_phone(user, guess, *now).await?)
            }
            Self::WechatSession(user, session, now) => {
                format!("{:?}", store.wechat_session(user, *session, *now).await?)
            }
            Self::LookupUser(user) => format!("{:?}", store.lookup_user(user).await?),
            Self::FindUser(by) => format!("{:?}", store.find_user(by).await?),
            Self::CreateAccount(account) => {
                format!("{:?}", store.create_account(account).await?)
            }
            Self::ChangeRights(user, change, now) => {
                let outcome = store.change_rights(user, change, *now).await?;
                entries.extend(outcome.iter().flat_map(|outcome| outcome.entries.clone()));
                format!("{outcome:?}")
            }
            Self::EraseUser(user, session, now) => {
                let outcome = store.erase_user(user, *session, policy, *now).await?;
                entries.extend(outcome.iter().flat_map(|outcome| outcome.entries.clone()));
                format!("{outcome:?}")
            }
            Self::UpdateProfile(user, change, now) => {
                format!("{:?}", store.update_profile(user, change, *now).await?)
            }
            Self::Withdraw(withdrawal, now) => {
                let outcome = store.withdraw(withdrawal, policy, *now).await?;
                if let WithdrawalOutcome::Erased { revoked, .. } = &outcome {
                    entries.extend(revoked.entries.clone());
                }
                format!("{outcome:?}")
            }
            Self::Session(user, session, now) => {
                format!("{:?}", store.session(user, *session, *now).await?)
            }
            Self::Sessions(user, now) => format!("{:?}", store.sessions(user, *now).await?),
            Self::Rotate(rotation) => {
                let outcome = store.rotate(rotation).await?;
                if let RotationOutcome::Rotated(renewed) | RotationOutcome::Replayed(renewed) =
                    &outcome
                {
                    let session = &renewed.session;
                    token = Some((session.user.clone(), session.id, session.counter));
                }
                format!("{outcome:?}")
            }
            Self::Renew(renewal) => format!("{:?}", store.renew(renewal).await?),
            Self::Revoke(scope, now) => {
                let outcome = store.revoke(scope, *now).await?;
                entries.extend(outcome.entries.clone());
                format!("{outcome:?}")
            }
            Self::Maintenance(maintenance) => {
                events = maintenance.make(store).await?;
                String::new()
            }
        };
        Ok(Response {
            text,
            entries,
            token,
            events,
        })
    }
}

impl Maintenance {
    /// The events that were taken.
    async fn make(&self, store: &dyn Store) -> Result<Vec<TakenEvent>, StoreError> {
        const LIMIT: usize = 20;
        match self {
            Self::Sweep(now) => drop(store.sweep(*now, LIMIT).await?),
            Self::RotateStoreKey => store.rotate_store_key().await?,
            Self::Reencrypt => drop(store.reencrypt(LIMIT).await?),
            Self::Heartbeat(id) => drop(store.heartbeat(*id, 0, &ReplicaFacts::default()).await?),
            Self::HoldLease(id) => drop(store.hold_lease(*id, LEASE).await?),
            Self::ReleaseLease(id) => store.release_lease(*id).await?,
            Self::TakeEvents(now) => {
                let taken = store.take_outbox(*now, now.plus(LEASE), LIMIT).await?;
                let taken = taken.into_iter().map(|entry| TakenEvent {
                    id: entry.event.id(),
                    receipt: entry.receipt,
                });
                return Ok(taken.collect());
            }
            Self::Acknowledge(event, is_delivered) => {
                let retry_at = (!is_delivered).then_some(Timestamp::from_secs(0));
                store.acknowledge_outbox(&event.receipt, retry_at).await?;
            }
        }
        Ok(Vec::new())
    }
}
