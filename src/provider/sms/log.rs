//! No vendor: in development the code is logged.

use super::message::SmsMessage;

/// Logs a code for the developer. The number is masked, because it may be a real one.
pub(super) fn show(message: &SmsMessage<'_>) {
    let (phone, code, purpose) = (
        message.phone.masked(),
        message.code.expose(),
        message.purpose.as_str(),
    );
    tracing::info!(target: "sms", "development, nothing was sent: the code for {phone} is {code} ({purpose})");
}
