//! What happened in one step: the terminal prints it, and the page shows it.

use bytes::Bytes;
use http::Response;

use super::{call::Call, step::Step, text::Text};
use crate::{
    dev::{backend::ReceivedRequest, call_log::ReceivedCall},
    explain::Explanation,
};

/// A step that has run.
pub(super) struct StepRecord {
    pub(super) step: Step,
    /// In order.
    pub(super) events: Vec<StepEvent>,
}

pub(super) enum StepEvent {
    Exchange(Box<Exchange>),
    /// A claim that was checked.
    Claim {
        claim: Text,
        holds: bool,
    },
}

/// A request of the mini program and all that it led to.
pub(super) struct Exchange {
    pub(super) call: Call,
    /// All header fields that were sent.
    pub(super) sent_headers: Vec<(String, String)>,
    /// Why the gate decides so on the bytes that were sent; `None`: there is no gate to ask.
    pub(super) explanation: Option<Explanation>,
    pub(super) response: Response<Bytes>,
    /// The request that the backend received, if the response is the backend's.
    pub(super) received: Option<ReceivedRequest>,
    /// What WeChat and the SMS vendor were asked meanwhile.
    pub(super) vendor_calls: Vec<VendorCall>,
    /// The headers that the terminal prints of the request that the backend received.
    pub(super) shown: Vec<ShownHeader>,
}

/// A call of menshen at a server outside.
pub(super) struct VendorCall {
    pub(super) vendor: Vendor,
    pub(super) call: ReceivedCall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vendor {
    Wechat,
    Sms,
}

/// A header of a request that the backend received.
#[derive(Debug, Clone, Copy)]
pub(super) enum ShownHeader {
    /// An identity header.
    Identity(&'static str),
    Other(&'static str),
}
