//! What clients asked and what they were told, with the time of both.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// With a code of `wx.login`.
    Login {
        person: String,
        code: String,
    },
    Refresh {
        refresh: String,
    },
    /// Of the backend.
    Call {
        access: String,
    },
    Logout {
        access: String,
    },
    /// By the phone number button.
    Bind {
        access: String,
        phone: String,
    },
    /// For a code that the client then reads from the phone.
    SendCode {
        phone: String,
    },
    PhoneLogin {
        phone: String,
        is_right: bool,
    },
    Ban {
        user: String,
    },
    Unban {
        user: String,
    },
    Erase {
        user: String,
    },
}

/// Tokens that a client was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub user: String,
    pub access: String,
    pub refresh: String,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Tokens(Tokens),
    Done,
    /// Below 500: nothing was done, and why.
    Refused(u16, String),
    /// No answer, or one that says that it is not known whether something was done.
    Unknown,
}

impl Told {
    pub fn tokens(&self) -> Option<&Tokens> {
        match self {
            Self::Tokens(tokens) => Some(tokens),
            Self::Done | Self::Refused(..) | Self::Unknown => None,
        }
    }
}

impl Tokens {
    pub fn read(answer: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            user: text(&answer["user"]["id"])?,
            access: text(&answer["access_token"])?,
            refresh: text(&answer["refresh_token"])?,
        })
    }
}

/// A request and its answer. Times are since the beginning.
#[derive(Debug, Clone)]
pub struct Event {
    pub began: Duration,
    pub ended: Duration,
    pub replica: usize,
    pub ask: Ask,
    pub told: Told,
}

/// A time in which a replica may have been stopped, or cut off from its database.
#[derive(Debug, Clone)]
pub struct Disturbance {
    /// `None`: all of them.
    pub replica: Option<usize>,
    pub began: Duration,
    pub ended: Duration,
    pub what: String,
}

/// All of it, while it is made.
pub struct Record {
    start: Instant,
    /// Each disturbance is printed as it happens, beside the logs of replicas.
    is_told: bool,
    events: Mutex<Vec<Event>>,
    disturbances: Mutex<Vec<Disturbance>>,
}

impl Record {
    pub fn new(is_told: bool) -> Self {
        Self {
            start: Instant::now(),
            is_told,
            events: Mutex::default(),
            disturbances: Mutex::default(),
        }
    }

    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn add(&self, event: Event) {
        self.events().push(event);
    }

    pub fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().expect("a lock")
    }

    pub fn disturbances(&self) -> MutexGuard<'_, Vec<Disturbance>> {
        self.disturbances.lock().expect("a lock")
    }

    /// Does something that disturbs a replica, or all of them.
    pub fn disturb(&self, replica: Option<usize>, what: String, action: impl FnOnce()) {
        let began = self.now();
        self.tell(replica, &what, "begins");
        action();
        self.tell(replica, &what, "has ended");
        self.disturbances().push(Disturbance {
            replica,
            began,
            ended: self.now(),
            what,
        });
    }

    fn tell(&self, replica: Option<usize>, what: &str, stage: &str) {
        if self.is_told {
            let clock = SystemTime::now().duration_since(UNIX_EPOCH);
            let clock = clock.unwrap_or_default().as_secs_f64();
            let now = self.now();
            eprintln!("{clock:.3} ({now:.1?}), replica {replica:?}: {what} {stage}");
        }
    }
}
