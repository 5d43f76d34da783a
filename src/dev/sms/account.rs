//! The customer that the simulated SMS vendors know.

/// The access key id of the customer.
pub const KEY_ID: &str = "simulated-key-id";
/// The secret of that key, and of the webhook.
pub const SECRET: &str = "simulated secret &=+%/";
/// The one approved signature.
pub const SIGN_NAME: &str = "门神短信测试";
/// The one approved template.
pub const TEMPLATE: &str = "SMS_154950909";
